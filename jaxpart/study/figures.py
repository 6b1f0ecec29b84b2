"""The study's table: a number per method and task, with its interval over pretrainings.

A number is the mean over the pretraining seeds, with the 95 % interval of Student's t. For a single
pretraining, the interval is the task's bootstrap over test items, if it has one; it does not cover the
variation between trainings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from jaxpart.runs.paper import METHODS
from jaxpart.runs.rows import Key, find_row, select
from jaxpart.runs.table import Section
from jaxpart.study.entries import Entry
from jaxpart.tasks.baselines import BASELINE, METRICS, label


@dataclasses.dataclass(frozen=True)
class Column:
    """A task of the table.

    Attributes:
      level: "object" or "part".
      heading: Task and variant.
      key: The result.
    """

    level: str
    heading: tuple[str, str]
    key: Key


DATA = "critters"
"""The data set of a study."""


def retrieved(representation: str) -> Key:
    """The result of part retrieval by a representation."""
    return Key(DATA, "retrieval", "AP", representation=representation)


def linear(task: str) -> Key:
    """The result of linear probing in a classification task."""
    return Key(DATA, task, "best", "linear", "cls_token")


def attentive(task: str) -> Key:
    """The result of attentive probing in a classification task."""
    return Key(DATA, task, "best", "attentive", "tokens")


def segmented(level: str) -> Key:
    """The result of segmentation at the level "object" or "part"."""
    return Key(f"{DATA}_{level}", "segmentation", "mIoU", "paper")


COLUMNS = (
    Column("object", ("class.", "linear"), linear("object_classification")),
    Column("object", ("class.", "attent."), attentive("object_classification")),
    Column("object", ("segm.", "mIoU"), segmented("object")),
    Column("part", ("retr.", "encoded"), retrieved("embedding")),
    Column("part", ("retr.", "project."), retrieved("projection")),
    Column("part", ("retr.", "cls"), retrieved("cls_token")),
    Column("part", ("class.", "linear"), linear("classification")),
    Column("part", ("class.", "attent."), attentive("classification")),
    Column("part", ("segm.", "mIoU"), segmented("part")),
)
"""The columns of the table."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A mean over pretrainings, as a fraction.

    Attributes:
      value: The mean.
      low: Lower end of its 95 % interval; None if it has none.
      high: Upper end.
      seeds: Number of pretrainings. With one, the interval is over test items.
    """

    value: float
    low: float | None
    high: float | None
    seeds: int


def over_seeds(values: Sequence[float]) -> Figure:
    """Mean and t-interval of two or more pretrainings."""
    mean = float(np.mean(values))
    half = float(
        stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    )
    return Figure(mean, mean - half, mean + half, len(values))


def figure_of(entries: Sequence[Entry], key: Key) -> Figure | None:
    """A result over the pretrainings of one row; None if none of them has it."""
    rows = [row for entry in entries if (row := find_row(entry.rows, *key))]
    if not rows:
        return None
    if len(rows) > 1:
        return over_seeds([row.value for row in rows])
    return Figure(rows[0].value, rows[0].low, rows[0].high, 1)


def by_row(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Entries of each row; the paper's methods first, in its order."""
    rows: dict[str, list[Entry]] = {row: [] for row in METHODS}
    for entry in entries:
        rows.setdefault(entry.row, []).append(entry)
    return {row: members for row, members in rows.items() if members}


def figures_of(entries: Sequence[Entry]) -> dict[str, dict[Key, Figure]]:
    """All numbers of the table by row and result."""
    return {
        row: {
            column.key: figure
            for column in COLUMNS
            if (figure := figure_of(members, column.key)) is not None
        }
        for row, members in by_row(entries).items()
    }


def best_rows(figures: Mapping[str, Mapping[Key, Figure]]) -> dict[Key, str]:
    """The row with the highest number in each column."""
    best = {}
    for column in COLUMNS:
        measured = [row for row, row_figures in figures.items() if column.key in row_figures]
        if measured:
            best[column.key] = max(measured, key=lambda row: figures[row][column.key].value)
    return best


def baseline_figures(entries: Sequence[Entry]) -> dict[str, dict[Key, Figure]]:
    """The baselines of part retrieval and classification, by label and result.

    They depend only on the data, which all entries share, so they come from the first entry that has them.
    """
    figures: dict[str, dict[Key, Figure]] = {}
    for task, metric in METRICS.items():
        columns = [column.key for column in COLUMNS if column.key.task == task]
        fields = {"data": DATA, "task": task, "metric": metric, "head": BASELINE, "group": ""}
        rows = next(filter(None, (select(entry.rows, **fields) for entry in entries)), [])
        for row in rows:
            figure = Figure(row.value, row.low, row.high, 1)
            figures.setdefault(label(row.key), {}).update(dict.fromkeys(columns, figure))
    return figures


def beaten_by(
    figure: Figure | None, column: Column, baselines: Mapping[str, Mapping[Key, Figure]]
) -> bool:
    """Whether a result is not above every baseline."""
    levels = [row[column.key].value for row in baselines.values() if column.key in row]
    return figure is not None and figure.value <= max(levels, default=-math.inf)


def written(
    figure: Figure | None, *, best: bool = False, beaten: bool = False, between: str = "\n"
) -> str:
    """A number in percent with the half width of its interval, * if best and ° if beaten by a baseline."""
    if figure is None:
        return "–"
    text = f"{100 * figure.value:.1f}" + ("*" if best else "") + ("°" if beaten else "")
    if figure.low is None or figure.high is None:
        return text
    return f"{text}{between}±{50 * (figure.high - figure.low):.1f}"


def interval_note(entries: Sequence[Entry]) -> str:
    """A note on the meaning of ± in a table of these entries."""
    counts = sorted({len(members) for members in by_row(entries).values()})
    if counts == [1]:
        return (
            "one pretraining each: ± is half the 95 % interval over test items, where there is one"
        )
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    note = (
        f"means over {number} pretrainings of each method; ± is half the 95 % t-interval over them"
    )
    return note + (", or over test items if there is only one" if counts[0] == 1 else "")


def table_section(entries: Sequence[Entry]) -> Section:
    """The table, with methods as rows, and the baselines below them."""
    figures, baselines = figures_of(entries), baseline_figures(entries)
    best = best_rows(figures)
    rows = []
    for row, members in by_row(entries).items():
        cells = []
        for column in COLUMNS:
            figure = figures[row].get(column.key)
            beaten = beaten_by(figure, column, baselines)
            cells.append(written(figure, best=best.get(column.key) == row, beaten=beaten))
        untrained = any(not entry.encoder["trained"] for entry in members)
        rows.append((METHODS.get(row, row), *cells, "UNTRAINED" if untrained else ""))
    for name, levels in baselines.items():
        cells = [f"{100 * levels[c.key].value:.1f}" if c.key in levels else "–" for c in COLUMNS]
        short = name.removeprefix("12 × 12 ").replace(",", "")
        rows.append((short, *cells, ""))
    headings = [f"{c.level}\n{c.heading[0]}\n{c.heading[1]}" for c in COLUMNS]
    return Section(("percent\n* best", *headings, ""), rows)
