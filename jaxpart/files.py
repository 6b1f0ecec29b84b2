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
def moved_into_place(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A temporary path beside `path` to write to, which takes its place if nothing is raised.

    Raises:
      OSError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.writing-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """As `moved_into_place`.

    Raises:
      JaxpartError: It cannot be written.
    """
    try:
        with moved_into_place(path) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or str(error)
        raise JaxpartError(f"{path} cannot be written: {reason}") from error


def write_json(path: pathlib.Path, document: Any) -> None:
    """Writes a document. Raises `JaxpartError` if the file cannot be written."""
    with replacing(path) as temporary:
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def folder_moved_into_place(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """A fresh folder beside `out`, which takes its place if nothing is raised; else `out` stays.

    Raises:
      OSError: It cannot be written.
    """
    folder, old = (
        out.with_name(f".{out.name}.{what}-{os.getpid()}") for what in ("writing", "replaced")
    )
    try:
        folder.mkdir(parents=True)
        yield folder
        if out.exists():
            os.replace(out, old)
        os.replace(folder, out)
    finally:
        if old.exists() and not out.exists():
            os.replace(old, out)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_folder(out: pathlib.Path, write: Callable[[pathlib.Path], None]) -> None:
    """Lets `write` fill a folder, which takes the place of `out`, whole or not at all.

    Raises:
      JaxpartError: It cannot be written.
    """
    try:
        with folder_moved_into_place(out) as folder:
            write(folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise JaxpartError(f"{out} cannot be written: {reason}") from error
