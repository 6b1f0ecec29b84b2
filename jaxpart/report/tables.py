"""The paper's tables, filled from runs; and the same measurements on other data."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from jaxpart.report.baselines import baseline_rows, not_above
from jaxpart.report.config_diff import departures
from jaxpart.report.layouts import LAYOUTS, Column, Layout
from jaxpart.report.runs import Run
from jaxpart.runs import paper
from jaxpart.runs.comparable import data_differs, remark
from jaxpart.runs.table import rules_line


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number, in percent.

    Attributes:
      ours: None: not run.
      low: Lower end of its 95 % interval, where there is one.
      high: Upper end.
      deviation: Standard deviation over the seeds of a run, where it has several.
      paper: The paper's figure; None where it has none or may not stand beside ours.
    """

    ours: float | None = None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    paper: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the paper's."""
        return None if self.ours is None or self.paper is None else self.ours - self.paper


@dataclasses.dataclass(frozen=True)
class Row:
    """One encoder.

    Attributes:
      label: The method, or the run where several are of one method.
      caveat: What is to be said of it, or "".
      cells: One per column.
      apart: Whether it differs from what the paper measured, in encoder or data.
    """

    label: str
    caveat: str
    cells: Sequence[Cell]
    apart: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      name: Of its files.
      title: Above it.
      columns: Headings.
      rows: In order.
      compared: Whether the paper has figures for it.
      notes: Below it.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    compared: bool
    notes: Sequence[str]

    @property
    def measured(self) -> bool:
        """Whether any run fills a cell of it."""
        return any(cell.ours is not None for row in self.rows for cell in row.cells)


_ELSEWHERE = {
    "retrieval": ("Part retrieval, AP", r"retrieval/(?P<column>(?!baseline/).+)/AP"),
    "classification": (
        "Part classification, top-1 of the best epoch",
        r"classification/(?P<column>.+)/best",
    ),
    "object_classification": (
        "Object classification, top-1 of the best epoch",
        r"object_classification/(?P<column>.+)/best",
    ),
    "segmentation": ("Segmentation, mIoU", r"segmentation/(?P<column>[^/]+)/mIoU"),
}


def paper_tables(runs: Sequence[Run]) -> list[Table]:
    """The paper's tables, a row for each of its methods, whether it was run or not.

    Runs of other weights than the paper's stand below them without its figures, and runs on data of
    another size without its figures of that data.
    """
    return [_paper_table(layout, runs) for layout in LAYOUTS]


def _paper_table(layout: Layout, runs: Sequence[Run]) -> Table:
    rows = []
    for method in paper.METHODS.values():
        mine = [run for run in runs if run.method == method and not run.caveat]
        mine = [run for run in mine if _has(run, layout)] or mine[:1]
        mine = [run for run in mine if not _data_differs(run, layout)]
        said = remark(method, layout.task)
        if not mine:
            cells = [Cell(paper=_paper(column, method)) for column in layout.columns]
            rows.append(Row(method, said, cells))
        for run in mine:
            cells = [_cell(run, c, _paper(c, method)) for c in layout.columns]
            rows.append(Row(run.label, said, cells))
    for run in runs:
        differing = _data_differs(run, layout)
        if (run.caveat or differing) and _has(run, layout):
            same = [c for c in layout.columns if _find(run, c) and c not in differing]
            same = [] if run.caveat else same
            cells = [
                _cell(run, c, _paper(c, run.method) if c in same else None) for c in layout.columns
            ]
            said = "; ".join(filter(None, (run.caveat, *dict.fromkeys(differing.values()))))
            rows.append(Row(run.label, said, cells, apart=True))
    keys = [column.results[0] for column in layout.columns]
    rows += _baselines(runs, keys)
    notes = [f"The paper's figures: {paper.results()['source']}."]
    for run in runs:
        if _has(run, layout):
            notes += _notes(run, layout.task)
            notes += filter(None, [not_above(run, keys)])
    if not any(_has(run, layout) for run in runs):
        notes.append("None of these runs measured it.")
    return Table(layout.name, layout.title, [c.heading for c in layout.columns], rows, True, notes)


def other_tables(runs: Sequence[Run]) -> list[Table]:
    """The same measurements on data that the paper does not have, one table per task and data set."""
    known = {name.split("/")[0] for la in LAYOUTS for c in la.columns for name in c.results}
    tables = []
    for task, (title, pattern) in _ELSEWHERE.items():
        found: dict[str, dict[str, str]] = {}
        for run in runs:
            for key in run.values:
                data, _, rest = key.partition("/")
                match = re.fullmatch(pattern, rest)
                if match and data not in known:
                    found.setdefault(data, {})[match["column"]] = key
        for data, columns in found.items():
            measured = [run for run in runs if any(key in run.values for key in columns.values())]
            rows = [
                Row(
                    run.label,
                    run.caveat,
                    [_cell(run, Column(c, (key,)), None) for c, key in columns.items()],
                )
                for run in measured
            ]
            keys = list(columns.values())
            rows += _baselines(runs, keys)
            notes = [note for run in measured if (note := not_above(run, keys))]
            notes += [note for run in measured for note in _rules(run, task)]
            name = re.sub(r"\W+", "_", f"{data}_{task}")
            headings = [_heading(task, column) for column in columns]
            tables.append(Table(name, f"{title}, on {data}", headings, rows, False, notes))
    return tables


def _baselines(runs: Sequence[Run], keys: Sequence[str]) -> list[Row]:
    """Rows without a trained encoder, below those of encoders that retrieve."""
    return [
        Row(label, "baseline", [_cell(run, Column("", (name,)), None) for name in names])
        for label, run, names in baseline_rows(runs, keys)
    ]


def _heading(task: str, column: str) -> str:
    """Above a column; "paper" is what segmentation calls the head on the paper's blocks."""
    if task != "segmentation" or not column.startswith("paper"):
        return column
    _, _, share = column.partition("@")
    return f"the paper's head{f', {share} of the images' if share else ''}"


def _data_differs(run: Run, layout: Layout) -> dict[Column, str]:
    """In what the data of a run's columns differs from the paper's, with its name; of those that do."""
    found = {}
    for column in layout.columns:
        name = _find(run, column)
        said = data_differs(run.values, name) if name and column.table else ""
        if name and said:
            found[column] = f"{name.partition('/')[0]}: {said}"
    return found


def _has(run: Run, layout: Layout) -> bool:
    return any(_find(run, column) for column in layout.columns)


def _find(run: Run, column: Column) -> str | None:
    """The name of the result that fills a column; of several that match, the largest."""
    for pattern in column.results:
        rule = re.compile(re.escape(pattern).replace(r"\*", ".+"))
        names = [name for name in run.values if rule.fullmatch(name)]
        if names:
            return max(names, key=lambda name: run.values[name])
    return None


def _paper(column: Column, method: str) -> float | None:
    return paper.figure(column.table, method, column.column)


def _cell(run: Run, column: Column, theirs: float | None) -> Cell:
    name = _find(run, column)
    if name is None:
        return Cell(paper=theirs)

    def percent(key: str) -> float | None:
        return 100 * run.values[key] if key in run.values else None

    low, high, deviation = (percent(f"{name}_{end}") for end in ("low", "high", "sd"))
    return Cell(percent(name), low, high, deviation, theirs)


def _notes(run: Run, task: str) -> list[str]:
    said = [] if run.caveat else departures(run.config, task)
    notes = [f"{run.label} was not run as the paper's: {', '.join(said)}."] if said else []
    return notes + _rules(run, task)


def _rules(run: Run, task: str) -> list[str]:
    """What was decided for the run's encoder without being asked."""
    return [f"{run.label}, {rules_line(task, run.rules[task])}."] if task in run.rules else []
