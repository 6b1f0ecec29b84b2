"""The folder that a report is left in."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxpart.errors import JaxpartError
from jaxpart.io.files import folder_moved_into_place, remove_left
from jaxpart.report.figures.style import Picture
from jaxpart.runs.progress import Progress

_MARK = "report.json"
"""Tells a folder that was written here, which may be replaced, from any other."""


@contextlib.contextmanager
def report_folder(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """A fresh folder that takes the place of `out` at the end, whole or not at all.

    Raises:
      JaxpartError: Something else than an earlier report is there, or it cannot be written.
    """
    remove_left(out.parent, out.name)
    if out.exists() and not (out / _MARK).is_file() and (out.is_file() or any(out.iterdir())):
        raise JaxpartError(f"{out} exists and is not an earlier report; name another --out")
    try:
        with folder_moved_into_place(out.resolve()) as folder:
            yield folder
    except OSError as error:
        raise JaxpartError(
            f"the report {out.resolve()} cannot be written: {error.strerror}; make room there or name "
            "another --out"
        ) from error


def mark(folder: pathlib.Path, about: Mapping[str, Any]) -> None:
    """Says in a folder that it is a report, and of what."""
    (folder / _MARK).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def save_pictures(
    pictures: Sequence[Picture], folder: pathlib.Path, progress: Progress
) -> list[tuple[Picture, tuple[int, int]]]:
    """Writes all figures; returns each with its width and height in a page's pixels."""
    (folder / "figures").mkdir()
    shown = []
    with progress.bar("drawing", len(pictures)) as advance:
        for picture in pictures:
            shown.append((picture, picture.save(folder / "figures")))
            advance(1)
    return shown
