"""A file lock that the operating system releases when the process ends."""

from __future__ import annotations

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator

from jaxpart.errors import JaxpartError


@contextlib.contextmanager
def locked(path: pathlib.Path, work: str) -> Iterator[None]:
    """Holds an exclusive lock on a file, which is created and not removed.

    Args:
      path: The file.
      work: The protected work, for error messages: "preparing data/lip".

    Raises:
      JaxpartError: Another process holds the lock, or the file cannot be created or locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise JaxpartError(f"{path.parent} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JaxpartError(f"another process is {work}; wait until it is done") from error
        except OSError as error:
            raise JaxpartError(f"{path} cannot be locked: {error.strerror}") from error
        yield
