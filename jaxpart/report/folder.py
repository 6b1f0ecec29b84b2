"""The folder of a report."""

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
"""Marks a folder as a report, which may be replaced."""


@contextlib.contextmanager
def report_folder(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new folder that replaces `out` at the end, completely or not at all.

    Raises:
      JaxpartError: `out` is something other than an earlier report, or cannot be written.
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
    """Marks a folder as a report and records its sources."""
    (folder / _MARK).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def save_pictures(
    pictures: Sequence[Picture], folder: pathlib.Path, progress: Progress
) -> list[tuple[Picture, tuple[int, int]]]:
    """Writes all figures; returns each with its width and height in CSS pixels."""
    (folder / "figures").mkdir()
    saved = []
    with progress.bar("drawing", len(pictures)) as advance:
        for picture in pictures:
            saved.append((picture, picture.save(folder / "figures")))
            advance(1)
    return saved
