"""Programs in forks of a process that has imported everything, so each start is cheap; they can be killed.

`python tests/fork_server.py`, which `ForkServer` starts, reads one order per line of JSON and answers each
with one line. An order names a program and may say what happens to it at its Nth change to the file system
(an open for writing, a rename, a removal, a new folder), as Python's audit events tell them: it is killed,
or gets another signal, before that, or so many seconds after, in the midst of whatever it is at; or nothing
can be written from there on. It may also limit the seconds that the program has, or have it keep its place
all the time. Orders of one line run at the same time.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import mmap
import os
import pathlib
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import jax

_CHANGES = frozenset(("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"))
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _command(module: str) -> Callable[[list[str]], int]:
    def run(arguments: list[str]) -> int:
        from jaxpart import main
        from jaxpart.pretraining import __main__ as pretraining

        sys.argv = [module, *arguments]
        return {"main": main.entry, "pretraining": pretraining.entry}[module]()

    return run


def _prepare(arguments: list[str]) -> int:
    from jaxpart.data import __main__

    return __main__.main(["prepare", *arguments])


def _convert(arguments: list[str]) -> int:
    from convert import __main__

    return __main__.main(arguments)


def _report(arguments: list[str]) -> int:
    from jaxpart.report import __main__

    return __main__.main(arguments)


def _export(arguments: list[str]) -> int:
    from jaxpart.export import __main__

    return __main__.main(arguments)


def _jaxpart(arguments: list[str]) -> int:
    from jaxpart import console

    sys.path.insert(0, "")
    sys.argv = ["jaxpart", *arguments]
    return console.main()


PROGRAMS = {
    "jaxpart": _jaxpart,
    "main": _command("main"),
    "pretraining": _command("pretraining"),
    "prepare": _prepare,
    "convert": _convert,
    "report": _report,
    "export": _export,
}


class ForkServer:
    """Starts the server, and sends it orders.

    The folder takes its temporary files and, where programs are killed, what is compiled: they may leave
    half an entry. The modules are imported too.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        *modules: str,
        killed: bool = True,
        keep_the_place: bool = False,
    ) -> None:
        self._keep_the_place = keep_the_place
        (folder / "tmp").mkdir()
        environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
        if killed:
            environment |= {
                "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
                "XDG_CACHE_HOME": str(folder / "cache"),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
        self._process = subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).resolve()), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._answer() == "ready"

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        assert line, "the fork server has died"
        return json.loads(line)

    def run(
        self, program: str, arguments: list[str], folder: pathlib.Path, **what: Any
    ) -> dict[str, Any]:
        """Runs a program in a folder; returns its status, changes, seconds and output."""
        (answer,) = self.together(self.order(program, arguments, folder, **what))
        return answer

    def order(
        self,
        program: str,
        arguments: list[str],
        folder: pathlib.Path,
        *,
        devices: int = 1,
        **what: Any,
    ) -> dict[str, Any]:
        """What `together` takes."""
        order = {
            "program": program,
            "arguments": arguments,
            "folder": str(folder),
            "devices": devices,
        }
        return order | {"keep_the_place": self._keep_the_place, **what}

    def together(self, *orders: dict[str, Any]) -> list[dict[str, Any]]:
        """Runs programs at the same time."""
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def _import_everything() -> None:
    """All that the programs use; none of it starts a JAX backend."""
    import array_record.python.array_record_module
    import grain
    import orbax.checkpoint

    import convert.__main__
    import jaxpart.data.__main__
    import jaxpart.data.input
    import jaxpart.encoders.callables
    import jaxpart.export.__main__
    import jaxpart.main
    import jaxpart.pretraining.__main__
    import jaxpart.report.__main__
    from jaxpart import tasks

    for name in tasks.TASKS:
        tasks.find(name)
    del array_record, grain, orbax, convert, jaxpart


def _keep_the_place_all_the_time() -> None:
    """Checkpoints after every step and a shard per batch, so that little runs have places to resume."""
    from jaxpart.features import extract as features
    from jaxpart.io import checkpoints

    checkpoints.Checkpointer.__init__.__kwdefaults__["every_seconds"] = 0.0
    features._SECONDS_PER_SHARD = 0.0


def _die(seconds: float, number: int) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), number)


def _watch(order: dict[str, Any], seen: mmap.mmap) -> None:
    """Counts changes below the order's folder, and does at one of them what it says."""
    lock, number = threading.Lock(), 0
    at, fault, later = order.get("at"), order.get("fault"), order.get("later", 0.0)
    number_sent = order.get("signal", signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal number
        if event == "open":
            path, _, flags = arguments
            if not flags & _WRITES:
                return
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return
        if isinstance(path, int):
            return
        path = os.path.abspath(os.fsdecode(path)) if event != "os.remove" else os.fsdecode(path)
        if os.path.isabs(path) and not path.startswith(order["folder"] + os.sep):
            return  # /dev/null, the compiler's cache and the like
        with lock:
            number += 1
            seen[:8] = struct.pack("q", number)
            now = number
        if at is None or now < at:
            return
        if fault is not None:
            if event in ("open", "os.mkdir"):  # what is there can be removed and renamed
                raise OSError(fault, os.strerror(fault), path)
        elif now == at and later:
            threading.Thread(target=_die, args=(later, number_sent), daemon=True).start()
        elif now == at:
            _die(0, number_sent)

    sys.addaudithook(hook)


def _child(order: dict[str, Any], seen: mmap.mmap) -> int:
    os.setsid()
    sys.stderr = os.fdopen(os.dup(2), "w", 1)  # the server's may be a file, which can seek
    if "signal" in order:  # as where Python was started with the command
        from jaxpart import terminal

        terminal.begin("__main__")
    jax.config.update("jax_num_cpu_devices", order["devices"])
    os.chdir(order["folder"])
    signal.alarm(order.get("limit", 0))
    if order["keep_the_place"]:
        _keep_the_place_all_the_time()
    _watch(order, seen)
    if order.get("largest") is not None:  # another kind of full disk, for what is no Python
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest"],) * 2)
    return PROGRAMS[order["program"]](order["arguments"])


def fork(work: Callable[[], int]) -> Callable[[], tuple[int, str]]:
    """Starts work in a fork; what it returns waits for the exit status and all that was printed."""
    told, out = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(told)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.close(out)
            status = work()
        except SystemExit as stop:
            status = int(stop.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                threading._shutdown()  # what concurrent.futures and Orbax still have to do
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(out)

    def end() -> tuple[int, str]:
        with open(told, errors="replace") as file:
            output = file.read()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output

    return end


def _begin(order: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Starts a program; what it returns waits for its end."""
    seen = mmap.mmap(-1, 8)
    start = time.monotonic()
    wait = fork(lambda: _child(order, seen))

    def end() -> dict[str, Any]:
        status, output = wait()
        return {
            "status": status,
            "changes": struct.unpack("q", seen[:8])[0],
            "seconds": time.monotonic() - start,
            "output": output,
        }

    return end


def main() -> None:
    """Answers orders until there are none."""
    _import_everything()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    gc.freeze()  # collections in a fork would copy the pages of all that is imported
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        ends = [_begin(order) for order in json.loads(line)]
        print(json.dumps([end() for end in ends]), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
    main()
