"""Tables of segmentation: classes, confused parts, and the section of the result table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from jaxpart.io.text import csv_text
from jaxpart.metrics.confusion_tables import class_scores, part_confusions
from jaxpart.runs.rows import Row, find_row, select
from jaxpart.runs.table import Section, interval, percent

TASK = "segmentation"

_SHOWN = 2
"""Number of best and of worst classes in the result table."""


def class_table(
    matrices: Mapping[str, Int[np.ndarray, "classes classes"]], names: Sequence[str]
) -> bytes:
    """Every class for every head, best IoU first, as CSV."""
    rows = (
        (head, score.name, _number(score.iou), _number(score.accuracy), score.pixels)
        for head, matrix in matrices.items()
        for score in class_scores(matrix, names)
    )
    return csv_text(("head", "class", "iou", "accuracy", "pixels"), rows).encode(errors="replace")


def confusion_table(
    matrix: Int[np.ndarray, "classes classes"], names: Sequence[str], objects: Sequence[str]
) -> bytes:
    """Confusions of parts of the same object, by descending share, as CSV."""
    rows = (
        (pair.object, pair.part, pair.predicted, _number(pair.share), pair.pixels)
        for pair in part_confusions(matrix, names, objects)
    )
    return csv_text(("object", "part", "predicted", "share", "pixels"), rows).encode(
        errors="replace"
    )


def section(rows: Sequence[Row]) -> Section:
    """A row for each data set and head of interest, in percent."""
    heads_of: dict[str, list[Row]] = {}
    for row in select(rows, task=TASK, metric="mIoU", group=""):
        heads_of.setdefault(row.data, []).append(row)
    return Section(
        ("segmentation", "mIoU", "95 % interval", "mAcc", "aAcc", "classes, best and worst"),
        [line for heads in heads_of.values() for line in _lines(rows, heads)],
    )


def _lines(rows: Sequence[Row], heads: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """Yields a data set's lines: all heads, but among single-block heads only the best and the last."""
    single = [row for row in heads if row.head.startswith("block")]
    remarks = {}
    if single:
        remarks[single[-1].head] = "the last block alone"
        best = max(single, key=lambda row: row.value)
        last = best is single[-1]
        remarks[best.head] = "the best block alone" + (", the last" if last else "")
    for number, row in enumerate(heads):
        if row in single and row.head not in remarks and number:
            continue
        others = [find_row(rows, *row.key._replace(metric=metric)) for metric in ("mAcc", "aAcc")]
        yield (
            f"{row.data}, {row.head}",
            percent(row.value),
            interval(row),
            *("–" if other is None else percent(other.value) for other in others),
            remarks.get(row.head, "") if number else _best_and_worst(rows, row),
        )


def _best_and_worst(rows: Sequence[Row], head: Row) -> str:
    """The classes with the highest and the lowest IoU of a head, in percent."""
    of_head = select(rows, data=head.data, task=TASK, metric="IoU", head=head.head)
    order = sorted(of_head, key=lambda row: -row.value)
    shown = [f"{row.group} {percent(row.value)}" for row in order]
    if len(shown) > 2 * _SHOWN:
        shown = [*shown[:_SHOWN], "…", *shown[-_SHOWN:]]
    return ", ".join(shown)


def _number(value: float) -> str:
    """Six digits; "" for NaN."""
    return "" if np.isnan(value) else f"{value:.6f}"
