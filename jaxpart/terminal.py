"""What every command does at a terminal: a line for a mistake, for Ctrl-C, and for output that ends early.

Light to import, so that a command can begin with it before what is slow.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec

from jaxpart.errors import JaxpartError

_Arguments = ParamSpec("_Arguments")
INTERRUPTED = 130
_CLOSED_PIPE = 141
_STOPPED = "stopped; the same command resumes from what is finished"
_SECONDS_TO_CLEAN_UP = 5.0

_begun = False


def begin(module: str) -> None:
    """Called by a command's module before it imports anything slow, which Ctrl-C then ends at once.

    Args:
      module: Its `__name__`: nothing happens unless it is the one that Python was started with.
    """
    global _begun
    if module != "__main__":
        return
    _begun = True
    signal.signal(signal.SIGINT, lambda *_: _end())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where Python was started with a closed one
            stream.reconfigure(errors="replace")  # what a terminal cannot show is a "?"


def told(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
    """A command line's `main` that ends in a line and an exit status, whatever comes.

    A `JaxpartError` ends with 2, as does output that cannot be written; Ctrl-C with 130, a pipe that is
    closed with 141.
    """

    @functools.wraps(main)
    def run(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> int:
        try:
            with _interruptible():
                status = main(*arguments, **options)
                if sys.stdout is not None:
                    sys.stdout.flush()
                return status
        except JaxpartError as error:
            _say(f"error: {error}")
            return 2
        except KeyboardInterrupt:
            _say(_STOPPED)
            return INTERRUPTED
        except OSError as error:
            if error.filename is not None or error.errno not in _OF_A_STREAM:
                raise
            _drop_output()
            if error.errno == errno.EPIPE:
                return _CLOSED_PIPE
            _say(f"error: the output cannot be written ({error.strerror})")
            return 2

    return run


_OF_A_STREAM = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF)


def count(least: int) -> Callable[[str], int]:
    """An argparse type: a whole number of at least `least`."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= 10**9:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return int(text)

    return read


@contextlib.contextmanager
def saving_first() -> Iterator[Callable[[], int]]:
    """Yields a function that says by which signal the command was asked to end, 0 as long as by none.

    SIGTERM, and in a command Ctrl-C, are only noted meanwhile, so that a place can be saved; a second
    Ctrl-C ends without.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0  # signals belong to the main thread
        return

    def note(number: int, frame: Any) -> None:
        if came and number == signal.SIGINT:
            _end()
        came.append(number)

    numbers = (signal.SIGTERM, signal.SIGINT) if _begun else (signal.SIGTERM,)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C raises, so that temporary files are removed; a second, or one that is swallowed, ends.

    Where Python cannot raise, as in a callback of its garbage collector, it would print a trace instead.

    Whatever else is raised after it came of it: compiled code, as matplotlib's, that calls Python back
    raises an error of its own in its place.
    """
    if not _begun:
        yield
        return
    came = False

    def interrupt(number: int, frame: Any) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, lambda *_: _end())
        watch = threading.Timer(_SECONDS_TO_CLEAN_UP, _end)
        watch.daemon = True
        watch.start()
        raise KeyboardInterrupt

    def unraisable(args: Any) -> None:
        if not (came and issubclass(args.exc_type, KeyboardInterrupt)):
            hook(args)

    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if came:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = hook


def _end() -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{_STOPPED}\n".encode())
    os._exit(INTERRUPTED)


def _say(line: str) -> None:
    with contextlib.suppress(OSError, AttributeError):
        print(line, file=sys.stderr, flush=True)


def _drop_output() -> None:
    """So that what is still to be written does not fail again when Python ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
