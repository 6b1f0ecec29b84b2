"""One process at a time: a lock that the system lets go of when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import pathlib
from collections.abc import Iterator

from jaxpart.errors import JaxpartError


@contextlib.contextmanager
def locked(path: pathlib.Path, work: str) -> Iterator[None]:
    """Holds the lock of a file, which is made and stays.

    Args:
      path: The file.
      work: What nobody else may do meanwhile, for the error: "preparing data/lip".

    Raises:
      JaxpartError: Another process holds it, or the file cannot be made or locked.
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
