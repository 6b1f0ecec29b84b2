"""Terminal behaviour of every command: one-line errors, Ctrl-C, and closed pipes.

Cheap to import, so that a command can import it before anything slow.
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
_STOPPED = "stopped; run the same command again to resume"
_SECONDS_TO_CLEAN_UP = 5.0

_begun = False


def begin(module: str) -> None:
    """Makes Ctrl-C exit at once; called by a command's module before its slow imports.

    Args:
      module: The module's `__name__`; does nothing unless it is "__main__".
    """
    global _begun
    if module != "__main__":
        return
    _begun = True
    signal.signal(signal.SIGINT, lambda *_: _exit_interrupted())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None if Python was started with it closed
            stream.reconfigure(errors="replace")  # a "?" where the terminal lacks a character


def entry_point(main: Callable[_Arguments, int]) -> Callable[_Arguments, int]:
    """Decorates a command line's `main` to turn errors into one line and an exit status.

    The status is 2 for a `JaxpartError`, for output that cannot be written and for paths without permission
    or of too many letters, 130 for Ctrl-C and 141 for a closed pipe.
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
            _print_error(f"error: {error}")
            return 2
        except KeyboardInterrupt:
            _print_error(_STOPPED)
            return INTERRUPTED
        except OSError as error:
            if error.filename is not None and error.errno in _PATH_ERRORS:
                _print_error(f"error: {error.filename} cannot be used: {error.strerror}")
                return 2
            if error.filename is not None or error.errno not in _STREAM_ERRORS:
                raise
            _drop_output()
            if error.errno == errno.EPIPE:
                return _CLOSED_PIPE
            _print_error(f"error: the output cannot be written ({error.strerror})")
            return 2

    return run


_PATH_ERRORS = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)
_STREAM_ERRORS = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF)


def count(least: int) -> Callable[[str], int]:
    """An argparse type: an integer of at least `least`."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= 10**9:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return int(text)

    return read


@contextlib.contextmanager
def saving_first() -> Iterator[Callable[[], int]]:
    """Defers SIGTERM, and in a command Ctrl-C, so that a checkpoint can be saved first.

    Yields a function that returns the number of the signal received, 0 if none. A second Ctrl-C exits at
    once, without saving.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0  # signals belong to the main thread
        return

    def record(number: int, frame: Any) -> None:
        if received and number == signal.SIGINT:
            _exit_interrupted()
        received.append(number)

    numbers = (signal.SIGTERM, signal.SIGINT) if _begun else (signal.SIGTERM,)
    previous = {number: signal.signal(number, record) for number in numbers}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Makes Ctrl-C raise `KeyboardInterrupt`, so that temporary files are removed.

    A second Ctrl-C exits at once, and a timer exits if the exception is swallowed. Where Python cannot
    raise, as in a callback of its garbage collector, it would print a traceback, which is suppressed.

    Any exception raised after Ctrl-C counts as caused by it: compiled code that calls back into Python, as
    matplotlib's does, replaces `KeyboardInterrupt` with an error of its own.
    """
    if not _begun:
        yield
        return
    interrupted = False

    def interrupt(number: int, frame: Any) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, lambda *_: _exit_interrupted())
        watchdog = threading.Timer(_SECONDS_TO_CLEAN_UP, _exit_interrupted)
        watchdog.daemon = True
        watchdog.start()
        raise KeyboardInterrupt

    def unraisable(args: Any) -> None:
        if not (interrupted and issubclass(args.exc_type, KeyboardInterrupt)):
            hook(args)

    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, previous)
        sys.unraisablehook = hook


def _exit_interrupted() -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{_STOPPED}\n".encode())
    os._exit(INTERRUPTED)


def _print_error(line: str) -> None:
    with contextlib.suppress(OSError, AttributeError):
        print(line, file=sys.stderr, flush=True)


def _drop_output() -> None:
    """Redirects stdout to /dev/null, so that flushing it at exit does not fail again."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
