"""A server of one file on this machine, which can cut connections off."""

import contextlib
import http.server
import threading
import time
import zlib

import pytest


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `data`, `delay` seconds late, and cuts each answer off after `limit` bytes."""

    data = b""
    limit = None
    ranges = True
    delay = 0.0
    asked: list[str | None]

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        time.sleep(self.delay)
        tag = f'"{zlib.crc32(self.data)}"'
        fits = self.headers.get("If-Range", tag) == tag
        start = int(wanted[6:-1]) if wanted and self.ranges and fits else 0
        if start >= len(self.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(self.data)}")
            self.end_headers()
            return
        rest = self.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", tag)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
            )
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(rest if self.limit is None else rest[: self.limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    class Mine(Server):
        """Attributes of its own, so that no test sees another's."""

    Mine.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        Mine.address = f"http://127.0.0.1:{running.server_port}"
        yield Mine
        running.shutdown()
        thread.join()
