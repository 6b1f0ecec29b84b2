"""Downloads files: resumable, verified, and safe with several processes.

A file is downloaded as FILE.part and renamed when it is complete and verified. The downloading process
holds a lock on the part, which the operating system releases when the process ends; other processes wait,
and then use the file or resume the part.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from typing import IO

from jaxpart.errors import JaxpartError
from jaxpart.io.files import is_at, on_disk
from jaxpart.runs.progress import Progress

_CHUNK = 1 << 20
_TIMEOUT = 60.0
_NO_SUCH_RANGE = 416


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file on a server.

    Attributes:
      url: Its address.
      sha256: Its published SHA-256 in hexadecimal, or its first digits, or "".
    """

    url: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """Its local file name."""
        return self.url.partition("?")[0].rpartition("/")[2]


def fetch(
    file: RemoteFile, folder: str | pathlib.Path, progress: Progress | None = None
) -> pathlib.Path:
    """Downloads a file unless it exists; verifies it either way.

    Raises:
      JaxpartError: The network or the server fails, the file has the wrong checksum, or the disk is
        full or read-only.
    """
    folder, progress = on_disk(folder, "--out"), progress or Progress()
    target, part = folder / file.name, folder / f"{file.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _is_complete(file, target, progress):
            return target
        with _locked(part, progress):
            if not _is_complete(file, target, progress):
                _receive(file, part, progress)
                fault = _fault(file, part)
                if fault:
                    part.unlink()
                    raise JaxpartError(f"{file.url} {fault}; it was removed, try again")
                os.replace(part, target)
    except OSError as error:
        raise JaxpartError(f"{folder} cannot be written: {error.strerror}") from error
    return target


def _is_complete(file: RemoteFile, target: pathlib.Path, progress: Progress) -> bool:
    if not target.exists():
        return False
    fault = _fault(file, target)
    if fault:
        progress.say(f"{target} {fault}: downloading it again")
        target.unlink()
    return not fault


def _fault(file: RemoteFile, path: pathlib.Path) -> str:
    """What is wrong with a downloaded file, as a predicate; "" if nothing is."""
    if file.sha256:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if not digest.startswith(file.sha256):
            return f"has the SHA-256 {digest} instead of {file.sha256}"
    return ""


@contextlib.contextmanager
def _locked(part: pathlib.Path, progress: Progress) -> Iterator[None]:
    """Holds the lock of the part; afterwards removes the part if it is empty."""
    while True:
        with part.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.say(f"another process is downloading {part}; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            if not is_at(part, file.fileno()):
                continue  # the other process has renamed it
            try:
                yield
            finally:
                if part.is_file() and not part.stat().st_size:
                    part.unlink()
                if not part.exists():
                    _tag(part).unlink(missing_ok=True)
            return


def _tag(part: pathlib.Path) -> pathlib.Path:
    """The file with the server's ETag of the version that a part belongs to."""
    return part.with_name(f"{part.name}.etag")


def _receive(file: RemoteFile, part: pathlib.Path, progress: Progress) -> None:
    """Downloads the rest of a file; if the connection fails, the part is kept."""
    url, start = file.url, part.stat().st_size
    headers = {}
    if start:
        headers["Range"] = f"bytes={start}-"
        if _tag(part).exists():  # the server sends the whole file if its version changed
            headers["If-Range"] = _tag(part).read_text(encoding="latin-1")
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT
        ) as response:
            start, size = _extent(response, start, url)
            with part.open("ab" if start else "wb") as opened:
                if not start:
                    _save_tag(response, part)
                with progress.bar(part.name, size) as advance:
                    advance(start)
                    received = start + _copy(response, opened, advance)
    except urllib.error.HTTPError as error:
        if error.code != _NO_SUCH_RANGE:
            raise JaxpartError(
                f"{url} cannot be downloaded: {error.code} {error.reason}"
            ) from error
        if error.headers.get("Content-Range", "") == f"bytes */{start}":
            return  # the part was complete
        part.unlink()
        raise JaxpartError(f"{part} is longer than {url}; it was removed, try again") from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise JaxpartError(
            f"{url} cannot be downloaded ({reason}); check the network and rerun the command to resume"
        ) from error
    if received != size:
        raise JaxpartError(
            f"{url} was cut off after {received} of {size} bytes; rerun the command to resume"
        )


def _save_tag(response: HTTPResponse, part: pathlib.Path) -> None:
    tag = response.headers.get("ETag", "")
    if tag.startswith('"'):  # weak ETags do not guarantee equal bytes
        _tag(part).write_text(tag, encoding="latin-1")
    else:
        _tag(part).unlink(missing_ok=True)


def _extent(response: HTTPResponse, start: int, url: str) -> tuple[int, int]:
    """(offset of the response, size of the whole file); servers may send the whole file again."""
    length = response.headers.get("Content-Length", "")
    if not length.isdigit():
        raise JaxpartError(f"{url} sends no length, so a complete download cannot be recognised")
    if response.status == 206:
        span = response.headers.get("Content-Range", "")
        if not span.startswith(f"bytes {start}-"):
            raise JaxpartError(f"{url} sends bytes {span!r} instead of those from {start} on")
        return start, start + int(length)
    return 0, int(length)


def _copy(response: HTTPResponse, file: IO[bytes], advance: Callable[[int], None]) -> int:
    """Writes the response to a file; returns the number of bytes."""
    count = 0
    while data := response.read1(_CHUNK):
        file.write(data)
        count += len(data)
        advance(len(data))
    return count
