"""What a segmentation shows: tables of classes and of confused parts, rows of the result table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from jaxpart.metrics.confusion_tables import class_scores, part_confusions
from jaxpart.runs.table import Section, interval, percent

_SHOWN = 2
"""Best and worst classes in the result table."""


def class_table(
    matrices: Mapping[str, Int[np.ndarray, "classes classes"]], names: Sequence[str]
) -> bytes:
    """Every class for every head, best IoU first, as CSV."""
    rows = (
        (head, score.name, _number(score.iou), _number(score.accuracy), score.pixels)
        for head, matrix in matrices.items()
        for score in class_scores(matrix, names)
    )
    return _csv(("head", "class", "iou", "accuracy", "pixels"), rows)


def confusion_table(
    matrix: Int[np.ndarray, "classes classes"], names: Sequence[str], objects: Sequence[str]
) -> bytes:
    """Parts taken for other parts of the same object, the most frequent share first, as CSV."""
    rows = (
        (one.object, one.part, one.predicted, _number(one.share), one.pixels)
        for one in part_confusions(matrix, names, objects)
    )
    return _csv(("object", "part", "predicted", "share", "pixels"), rows)


def section(values: Mapping[str, float | int]) -> Section:
    """A row for each data set and head of interest, in percent."""
    rows = []
    for key in values:
        data, task, *rest = key.split("/")
        if task == "segmentation" and rest[1:] == ["mIoU"]:
            rows.append((data, rest[0]))
    return Section(
        ("segmentation", "mIoU", "95 % interval", "mAcc", "aAcc", "classes, best and worst"),
        [
            row
            for data in dict(rows)
            for row in _rows(values, data, [h for d, h in rows if d == data])
        ],
    )


def _rows(
    values: Mapping[str, float | int], data: str, heads: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """The rows of one data set: all heads but those on one block, and the best and last of these."""
    place = f"{data}/segmentation"
    single = [head for head in heads if head.startswith("block")]
    said = {}
    if single:
        said[single[-1]] = "the last block alone"
        best = max(single, key=lambda head: values[f"{place}/{head}/mIoU"])
        said[best] = "the best block alone" + (", the last" if best == single[-1] else "")
    for number, head in enumerate(heads):
        if head in single and head not in said and number:
            continue
        yield (
            f"{data}, {head}",
            percent(values[f"{place}/{head}/mIoU"]),
            interval(values, f"{place}/{head}/mIoU"),
            *(percent(values[f"{place}/{head}/{metric}"]) for metric in ("mAcc", "aAcc")),
            said.get(head, "") if number else _best_and_worst(values, f"{place}/{head}/IoU/"),
        )


def _best_and_worst(values: Mapping[str, float | int], prefix: str) -> str:
    """The classes with the highest and the lowest IoU, in percent."""
    found = {key.removeprefix(prefix): iou for key, iou in values.items() if key.startswith(prefix)}
    order = sorted(found, key=lambda name: -found[name])
    shown = order if len(order) <= 2 * _SHOWN else [*order[:_SHOWN], "…", *order[-_SHOWN:]]
    return ", ".join(name if name == "…" else f"{name} {percent(found[name])}" for name in shown)


def _number(value: float) -> str:
    """With six digits; empty where there is none."""
    return "" if np.isnan(value) else f"{value:.6f}"


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
