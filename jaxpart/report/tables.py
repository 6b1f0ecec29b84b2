"""The paper's tables filled from runs, and tables of the same measurements on other data."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

from jaxpart.report.baselines import baseline_rows, not_above
from jaxpart.report.layouts import LAYOUTS, Column, Layout
from jaxpart.report.runs import Run
from jaxpart.runs import paper
from jaxpart.runs.comparable import data_differs, remark
from jaxpart.runs.config_diff import differences
from jaxpart.runs.rows import Key, Row, find_row, select
from jaxpart.runs.table import rules_line
from jaxpart.runs.unlike import unlike


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number, in percent.

    Attributes:
      ours: Our result; None: not run.
      low: Lower end of its 95 % interval, if it has one.
      high: Upper end.
      deviation: Standard deviation over the seeds of a run, if it has several.
      paper: The paper's number; None if it has none, or none comparable with ours.
    """

    ours: float | None = None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    paper: float | None = None

    @property
    def difference(self) -> float | None:
        """Our number minus the paper's."""
        return None if self.ours is None or self.paper is None else self.ours - self.paper


@dataclasses.dataclass(frozen=True)
class Line:
    """The row of an encoder.

    Attributes:
      label: The method, or the run's label if several runs are of one method.
      caveat: A caveat of the run, or "".
      cells: One per column.
      apart: Whether its encoder or data differ from the paper's.
    """

    label: str
    caveat: str
    cells: Sequence[Cell]
    apart: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      name: File name without suffix.
      title: Its heading.
      columns: Column headings.
      rows: Rows in order.
      compared: Whether the paper has numbers for it.
      notes: Notes below it.
      corner: Heading of the rows' labels.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Line]
    compared: bool
    notes: Sequence[str]
    corner: str = "Encoder"

    @property
    def measured(self) -> bool:
        """Whether any cell has a result of a run."""
        return any(cell.ours is not None for row in self.rows for cell in row.cells)

    @property
    def shown(self) -> list[tuple[int, list[str]]]:
        """The columns to show on a page: each column's number, and which of "ours", "paper" and
        "difference" have values in it. A measured table leaves out columns without a result."""
        columns = []
        for number in range(len(self.columns)):
            cells = [row.cells[number] for row in self.rows]
            filled = [
                name
                for name in ("ours", "paper", "difference")
                if any(getattr(cell, name) is not None for cell in cells)
            ]
            if "ours" in filled or (filled and not self.measured):
                columns.append((number, filled))
        return columns

    @property
    def upright(self) -> Table:
        """The table for a page: transposed, with encoders as columns, if it is wider than high."""
        columns = [number for number, _ in self.shown]
        if self.compared or len(columns) <= max(ABREAST, len(self.rows)):
            return self
        rows = [
            Line(self.columns[number], "", [row.cells[number] for row in self.rows])
            for number in columns
        ]
        headings = [f"{row.label} ({row.caveat})" if row.caveat else row.label for row in self.rows]
        return dataclasses.replace(self, columns=headings, rows=rows, corner="Measured")


ABREAST = 8
"""Columns that fit side by side."""
_LONGEST = 60
"""Maximum length of a data set's name in a file name."""


class _Other(NamedTuple):
    """The layout of tables that the paper does not have, one per data set.

    Attributes:
      name: Suffix of the file names.
      task: The task whose results they show.
      title: Title, without the data set.
      metrics: The metrics, a column for each.
      everywhere: Whether to include the paper's data sets.
      head: Head of the results; None: any.
    """

    name: str
    task: str
    title: str
    metrics: tuple[str, ...]
    everywhere: bool = False
    head: str | None = None


_UNSELECTED = "at the last epoch, and chosen on held-out training images"
_OTHERS = (
    _Other("retrieval", "retrieval", "Part retrieval, AP", ("AP",), head=""),
    *(
        table
        for task, title in (
            ("classification", "Part classification, top-1"),
            ("object_classification", "Object classification, top-1"),
        )
        for table in (
            _Other(task, task, f"{title} of the best epoch", ("best",)),
            _Other(f"{task}_chosen", task, f"{title} {_UNSELECTED}", ("last", "chosen"), True),
        )
    ),
    _Other("segmentation", "segmentation", "Segmentation, mIoU", ("mIoU",)),
)


def paper_tables(runs: Sequence[Run]) -> list[Table]:
    """The paper's tables, with a row for each of its methods, run or not.

    Runs with other weights than the paper's follow below, without its numbers. Runs on data of another
    size than the paper's are shown without its numbers for that data.
    """
    return [_paper_table(layout, runs) for layout in LAYOUTS]


def _paper_table(layout: Layout, runs: Sequence[Run]) -> Table:
    rows = []
    for method in paper.METHODS.values():
        matching = [run for run in runs if run.method == method and not run.caveat]
        matching = [run for run in matching if _has(run, layout)] or matching[:1]
        matching = [run for run in matching if not _data_differs(run, layout)]
        caveat = remark(method, layout.task)
        if not matching:
            cells = [Cell(paper=_paper(column, method)) for column in layout.columns]
            rows.append(Line(method, caveat, cells))
        for run in matching:
            cells = [cell_of(_find(run, c), _paper(c, method)) for c in layout.columns]
            rows.append(Line(run.label, joined(caveat, run.arithmetic), cells))
    for run in runs:
        differing = _data_differs(run, layout)
        if (run.caveat or differing) and _has(run, layout):
            same = [c for c in layout.columns if _find(run, c) and c not in differing]
            same = [] if run.caveat else same
            cells = [
                cell_of(_find(run, c), _paper(c, run.method) if c in same else None)
                for c in layout.columns
            ]
            caveat = joined(run.caveat, run.arithmetic, *dict.fromkeys(differing.values()))
            rows.append(Line(run.label, caveat, cells, apart=True))
    keys = [column.key for column in layout.columns]
    rows += _baselines(runs, keys)
    notes = [f"The paper's figures: {paper.results()['source']}."]
    measured = [run for run in runs if _has(run, layout)]
    for run in measured:
        if layout.task == "object_classification":  # its heads read different features
            shown = dict.fromkeys(row.key.series for c in layout.columns if (row := _find(run, c)))
            notes.append(f"{run.label}: {', '.join(shown)}.")
        notes += _notes(run, layout.task)
        notes += filter(None, [not_above(run, keys)])
    if not measured:
        notes.append("Not measured by any of these runs.")
    data = [row.data for run in measured for c in layout.columns if (row := _find(run, c))]
    notes += unlike(measured, layout.task, list(dict.fromkeys(data)))
    return Table(layout.name, layout.title, [c.heading for c in layout.columns], rows, True, notes)


def other_tables(runs: Sequence[Run]) -> list[Table]:
    """Tables that the paper does not have: other data sets, and accuracies not chosen on the test set."""
    known = {column.key.data for layout in LAYOUTS for column in layout.columns}
    tables: list[Table] = []
    for other in _OTHERS:
        task = other.task
        by_data: dict[str, dict[Key, None]] = {}
        for run in runs:
            for row in select(run.rows, task=task, group=""):
                shown = row.metric in other.metrics and other.head in (None, row.head)
                if shown and (other.everywhere or row.data not in known):
                    by_data.setdefault(row.data, {})[row.key] = None
        for data, columns in by_data.items():
            keys = list(columns)
            cells = {run.label: [find_row(run.rows, *key) for key in keys] for run in runs}
            measured = [run for run in runs if any(cells[run.label])]
            rows = [
                Line(
                    run.label,
                    joined(run.caveat, run.arithmetic),
                    [cell_of(row, None) for row in cells[run.label]],
                )
                for run in measured
            ]
            rows += _baselines(runs, keys)
            notes = [note for run in measured if (note := not_above(run, keys))]
            notes += [note for run in measured for note in _rules(run, task)]
            notes += unlike(measured, task, [data])
            name = re.sub(r"\W+", "_", f"{data[:_LONGEST]}_{other.name}")
            if any(table.name == name for table in tables):
                name += f"_{len(tables)}"
            several = len(other.metrics) > 1
            headings = [_heading(key) + (f", {key.metric}" if several else "") for key in keys]
            tables.append(Table(name, f"{other.title}, on {data}", headings, rows, False, notes))
    return tables


def _baselines(runs: Sequence[Run], keys: Sequence[Key]) -> list[Line]:
    """Rows of the baselines, which follow the encoders that retrieve."""
    return [
        Line(label, "baseline", [cell_of(row, None) for row in row_of])
        for label, row_of in baseline_rows(runs, keys)
    ]


def joined(*caveats: str) -> str:
    """Joins caveats, without the empty ones."""
    return "; ".join(filter(None, caveats))


def _heading(key: Key) -> str:
    """A column's heading; "paper" is segmentation's name for the head on the paper's blocks."""
    if key.task != "segmentation" or not key.head.startswith("paper"):
        return key.series
    _, _, share = key.head.partition("@")
    return f"the paper's head{f', {share} of the images' if share else ''}"


def _data_differs(run: Run, layout: Layout) -> dict[Column, str]:
    """The columns whose data differs from the paper's, and how."""
    differing = {}
    for column in layout.columns:
        row = _find(run, column)
        difference = data_differs(run.rows, row.key) if row and column.table else ""
        if row and difference:
            differing[column] = f"{row.data}: {difference}"
    return differing


def _has(run: Run, layout: Layout) -> bool:
    return any(_find(run, column) for column in layout.columns)


def _find(run: Run, column: Column) -> Row | None:
    return column.result(run.rows, run.encoder["name"])


def _paper(column: Column, method: str) -> float | None:
    return paper.figure(column.table, method, column.column)


def cell_of(row: Row | None, theirs: float | None) -> Cell:
    """A result, or none, in percent, with the paper's number if they are comparable."""
    if row is None:
        return Cell(paper=theirs)

    def percent(share: float | None) -> float | None:
        return None if share is None else 100 * share

    return Cell(percent(row.value), percent(row.low), percent(row.high), percent(row.sd), theirs)


def _notes(run: Run, task: str) -> list[str]:
    differing = [] if run.caveat else differences(run.config, task)
    notes = (
        [f"{run.label} was not run with the paper's settings: {', '.join(differing)}."]
        if differing
        else []
    )
    return notes + _rules(run, task)


def _rules(run: Run, task: str) -> list[str]:
    """Notes on choices made automatically for the run's encoder."""
    return [f"{run.label}, {rules_line(task, run.rules[task])}."] if task in run.rules else []
