"""The table that a run prints at the end, with one section per task."""

from __future__ import annotations

import dataclasses
import io
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import rich.box
import rich.console
import rich.table

from jaxpart.runs.rows import Row

_WIDTHS = 40, 100
"""Minimum and maximum width of a table, in characters."""


def line_width() -> int:
    """The width of the terminal within these limits; the maximum without a terminal."""
    least, most = _WIDTHS
    if sys.stdout is None or not sys.stdout.isatty():
        return most
    return min(max(shutil.get_terminal_size((most, 24)).columns, least), most)


@dataclasses.dataclass(frozen=True)
class Section:
    """The results of a task.

    Attributes:
      columns: Headings: the task's name, columns of numbers, and a column of text.
      rows: Cells of each row.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def percent(share: float) -> str:
    """A number in percent, with one decimal."""
    return f"{100 * share:.1f}"


def interval(row: Row | None) -> str:
    """The 95 % interval of a result in percent, "91.2 to 93.4"; "" if there is none."""
    if row is None or row.interval is None:
        return ""
    low, high = row.interval
    return f"{percent(low)} to {percent(high)}"


def encoder_name(encoder: Mapping[str, Any]) -> str:
    """An encoder's title from its entry in results.json: name, precision, weights, and so on."""
    trained = (
        "" if encoder["trained"] else " (UNTRAINED, random weights: says nothing about the method)"
    )
    precision = f" in {encoder['precision']}" if "precision" in encoder else ""
    notes = []
    if str(encoder.get("weights", "")).startswith(("released", "yours")):
        notes.append(f"weights: {encoder['weights']}")
    if "patch_order" in encoder:
        order = "kept in" if encoder["patch_order"] == "kept" else "permuted against"
        notes.append(f"patches {order} their positions")
    note = f" ({'; '.join(notes)})" if notes else ""
    return f"{encoder['name']}{precision}{note}{trained}"


def rules_line(task: str, rules: Mapping[str, str]) -> str:
    """The options that were chosen automatically for an encoder, "segmentation: resize opencv"."""
    return f"{task}: {'; '.join(f'{name}: {value}' for name, value in rules.items())}"


def sections_text(title: str | None, sections: Sequence[Section]) -> str:
    """Sections below one another as text, with a title above the first."""
    parts: list[str] = []
    for i, section in enumerate(sections):
        table = rich.table.Table(title=title if i == 0 else None, box=rich.box.SIMPLE)
        *numbers, prose = section.columns
        table.add_column(numbers[0])
        for name in numbers[1:]:
            table.add_column(name, justify="right")
        table.add_column(prose)
        for row in section.rows:
            table.add_row(*row)
        text = io.StringIO()
        rich.console.Console(file=text, width=line_width()).print(table)
        parts.append(text.getvalue().rstrip())
    return "\n".join(parts)
