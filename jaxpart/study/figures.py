"""The study's table: a figure per method and task, with its interval over pretrainings.

A figure is the mean over the pretraining seeds that there are, with the 95 % interval of Student's t. Of a
single pretraining only the sampling of test items is known: then the interval is that of the task's own
bootstrap, and says nothing of another training; tasks without one leave the figure without interval.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from jaxpart.runs.paper import METHODS
from jaxpart.runs.rows import Key, one, select
from jaxpart.runs.table import Section
from jaxpart.study.entries import Entry
from jaxpart.tasks.baselines import BASELINE, label


@dataclasses.dataclass(frozen=True)
class Column:
    """A task of the table.

    Attributes:
      level: "object" or "part".
      heading: Task and what varies within it.
      key: The result.
    """

    level: str
    heading: tuple[str, str]
    key: Key


DATA = "critters"
"""What a study measures on."""


def retrieved(representation: str) -> Key:
    """Part retrieval by a representation."""
    return Key(DATA, "retrieval", "AP", representation=representation)


def linear(task: str) -> Key:
    """Linear probing of a task of classification."""
    return Key(DATA, task, "best", "linear", "cls_token")


def attentive(task: str) -> Key:
    """Attentive probing of a task of classification."""
    return Key(DATA, task, "best", "attentive", "tokens")


def segmented(level: str) -> Key:
    """Segmentation at the level "object" or "part"."""
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
"""In the order of the table."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A mean, as a share of 1.

    Attributes:
      value: The mean.
      low: Lower end of its 95 % interval; None where nothing is known of it.
      high: Upper end.
      seeds: How many pretrainings it is the mean of. Of one, the interval is over test items.
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
    """A result of one row's pretrainings; None where none of them has it."""
    found = [row for entry in entries if (row := one(entry.rows, *key))]
    if not found:
        return None
    if len(found) > 1:
        return over_seeds([row.value for row in found])
    return Figure(found[0].value, found[0].low, found[0].high, 1)


def by_row(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Entries of each row; the paper's methods first, in its order."""
    rows: dict[str, list[Entry]] = {row: [] for row in METHODS}
    for entry in entries:
        rows.setdefault(entry.row, []).append(entry)
    return {row: mine for row, mine in rows.items() if mine}


def figures_of(entries: Sequence[Entry]) -> dict[str, dict[Key, Figure]]:
    """Every figure of the table by row and by the result."""
    return {
        row: {
            column.key: found
            for column in COLUMNS
            if (found := figure_of(mine, column.key)) is not None
        }
        for row, mine in by_row(entries).items()
    }


def best_rows(figures: Mapping[str, Mapping[Key, Figure]]) -> dict[Key, str]:
    """The row with the highest figure of each column that any row has."""
    best = {}
    for column in COLUMNS:
        there = [row for row, mine in figures.items() if column.key in mine]
        if there:
            best[column.key] = max(there, key=lambda row: figures[row][column.key].value)
    return best


def baseline_figures(entries: Sequence[Entry]) -> dict[str, dict[Key, Figure]]:
    """Of columns of retrieval what chance and pixels give, by label and by the column's result.

    They are of the data alone, which all entries share: the first that has them counts.
    """
    columns = [c.key for c in COLUMNS if c.key.task == "retrieval"]
    wanted = {"data": DATA, "task": "retrieval", "metric": "AP", "head": BASELINE, "group": ""}
    rows = next(filter(None, (select(entry.rows, **wanted) for entry in entries)), [])
    return {
        label(row.key): dict.fromkeys(columns, Figure(row.value, row.low, row.high, 1))
        for row in rows
    }


def beaten_by(
    figure: Figure | None, column: Column, baselines: Mapping[str, Mapping[Key, Figure]]
) -> bool:
    """Whether a figure of retrieval is not above every baseline."""
    levels = [mine[column.key].value for mine in baselines.values() if column.key in mine]
    return figure is not None and figure.value <= max(levels, default=-math.inf)


def written(
    figure: Figure | None, *, best: bool = False, beaten: bool = False, between: str = "\n"
) -> str:
    """A figure in percent with the half width of its interval; with a star, or a ring if it is beaten."""
    if figure is None:
        return "–"
    text = f"{100 * figure.value:.1f}" + ("*" if best else "") + ("°" if beaten else "")
    if figure.low is None or figure.high is None:
        return text
    return f"{text}{between}±{50 * (figure.high - figure.low):.1f}"


def interval_note(entries: Sequence[Entry]) -> str:
    """What ± means in a table of these entries."""
    counts = sorted({len(mine) for mine in by_row(entries).values()})
    if counts == [1]:
        return (
            "one pretraining each: ± is half the 95 % interval over test items, where there is one"
        )
    said = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    note = f"mean of {said} pretrainings each: ± is half the 95 % t-interval over them"
    return note + ("; of one, over test items" if counts[0] == 1 else "")


def table_section(entries: Sequence[Entry]) -> Section:
    """The table, methods as rows, and what retrieves without an encoder below them."""
    figures, baselines = figures_of(entries), baseline_figures(entries)
    best = best_rows(figures)
    rows = []
    for row, mine in by_row(entries).items():
        cells = []
        for column in COLUMNS:
            figure = figures[row].get(column.key)
            beaten = beaten_by(figure, column, baselines)
            cells.append(written(figure, best=best.get(column.key) == row, beaten=beaten))
        untrained = any(not entry.encoder["trained"] for entry in mine)
        rows.append((METHODS.get(row, row), *cells, "UNTRAINED" if untrained else ""))
    for name, levels in baselines.items():
        cells = [f"{100 * levels[c.key].value:.1f}" if c.key in levels else "–" for c in COLUMNS]
        short = name.removeprefix("12 × 12 ").replace(",", "")
        rows.append((short, *cells, ""))
    headings = [f"{c.level}\n{c.heading[0]}\n{c.heading[1]}" for c in COLUMNS]
    return Section(("percent\n* best", *headings, ""), rows)
