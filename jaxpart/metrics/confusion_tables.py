"""Tables of a confusion matrix: scores of each class, and confusion of parts within an object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxpart.metrics.confusion import ratio, segmentation_scores


class ClassScore(NamedTuple):
    """A class with its scores, see `SegmentationScores`, and its number of labelled pixels."""

    name: str
    iou: float
    accuracy: float
    pixels: int


def class_scores(
    matrix: Int[np.ndarray, "classes classes"], names: Sequence[str]
) -> list[ClassScore]:
    """The scores of each class, by descending IoU with NaN last (ties in class order)."""
    scores = segmentation_scores(matrix)
    pixels = np.asarray(matrix, np.int64).sum(1)
    rows = [
        ClassScore(name, float(iou), float(accuracy), int(count))
        for name, iou, accuracy, count in zip(
            names, scores.iou, scores.accuracy, pixels, strict=True
        )
    ]
    return sorted(rows, key=lambda row: (np.isnan(row.iou), -row.iou))


class PartConfusion(NamedTuple):
    """Labelled pixels of a part that are taken for another part of its object: share and number."""

    object: str
    part: str
    predicted: str
    share: float
    pixels: int


def part_confusions(
    matrix: Int[np.ndarray, "classes classes"], names: Sequence[str], objects: Sequence[str]
) -> list[PartConfusion]:
    """All confusions between two parts of one object, by descending share."""
    matrix = np.asarray(matrix, np.int64)
    between = matrix * _same_object(objects)
    np.fill_diagonal(between, 0)
    share = ratio(between, matrix.sum(1, keepdims=True))
    rows = [
        PartConfusion(objects[t], names[t], names[p], float(share[t, p]), int(between[t, p]))
        for t, p in zip(*np.nonzero(between), strict=True)
    ]
    return sorted(rows, key=lambda row: -row.share)


def error_shares(
    matrix: Int[np.ndarray, "classes classes"], objects: Sequence[str]
) -> tuple[float, float]:
    """Shares of the labelled pixels taken for another part of the object, and for one of another object."""
    matrix = np.asarray(matrix, np.int64)
    within = matrix[_same_object(objects)].sum()
    same, other = ratio([within - np.trace(matrix), matrix.sum() - within], matrix.sum())
    return float(same), float(other)


def _same_object(objects: Sequence[str]) -> Bool[np.ndarray, "classes classes"]:
    """Whether two classes belong to the same object."""
    names = np.asarray(objects)
    return names[:, None] == names[None]
