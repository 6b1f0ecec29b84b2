"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

from jaxpart.errors import JaxpartError


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary path beside `path` to write to, which takes its place if nothing is raised.

    Raises:
      JaxpartError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.writing-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise JaxpartError(f"{path} cannot be written: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: pathlib.Path, document: Any) -> None:
    """Writes a document. Raises `JaxpartError` if the file cannot be written."""
    with replacing(path) as temporary:
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8")


def write_folder(out: pathlib.Path, write: Callable[[pathlib.Path], None]) -> None:
    """Lets `write` fill a folder beside `out`, then moves it into place."""
    temporary = out.parent / f".{out.name}.writing-{os.getpid()}"
    old = out.parent / f".{out.name}.replaced-{os.getpid()}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        write(temporary)
        if out.exists():
            os.replace(out, old)
        os.replace(temporary, out)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise JaxpartError(f"{out} cannot be written: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
