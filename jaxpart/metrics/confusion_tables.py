"""Tables of a confusion matrix: scores of each class, and confusion of parts within an object."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from jaxpart.metrics.confusion import check_names, ratio, segmentation_scores


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """One row of the per-class table.

    Attributes:
      name: The class.
      iou: See `SegmentationScores`.
      accuracy: See `SegmentationScores`.
      pixels: Number of labelled pixels.
    """

    name: str
    iou: float
    accuracy: float
    pixels: int


def class_scores(
    matrix: Int[np.ndarray, "classes classes"], names: Sequence[str]
) -> list[ClassScore]:
    """The per-class table, sorted by descending IoU with NaN last (ties in class order).

    Args:
      matrix: As in `segmentation_scores`.
      names: Names of the classes, by label.

    Raises:
      JaxpartError: The numbers of names and classes differ.
    """
    check_names(names, len(matrix))
    scores = segmentation_scores(matrix)
    pixels = np.asarray(matrix, np.int64).sum(1)
    rows = [
        ClassScore(name, float(iou), float(accuracy), int(count))
        for name, iou, accuracy, count in zip(
            names, scores.iou, scores.accuracy, pixels, strict=True
        )
    ]
    return sorted(rows, key=lambda row: (np.isnan(row.iou), -row.iou))


@dataclasses.dataclass(frozen=True)
class PartConfusion:
    """How often one part is confused with another part of the same object.

    Attributes:
      object: The object of both parts.
      part: Name of the true class.
      predicted: Name of the predicted class.
      share: Share of the true part's labelled pixels, 0 … 1.
      pixels: Number of these pixels.
    """

    object: str
    part: str
    predicted: str
    share: float
    pixels: int


def part_confusions(
    matrix: Int[np.ndarray, "classes classes"], names: Sequence[str], objects: Sequence[str]
) -> list[PartConfusion]:
    """All confusions between two parts of one object, sorted by descending share.

    Args:
      matrix: As in `segmentation_scores`.
      names: Names of the classes (parts), by label.
      objects: The object of each class, by label.

    Raises:
      JaxpartError: The numbers of names, objects and classes differ.
    """
    check_names(names, len(matrix))
    check_names(objects, len(matrix))
    matrix = np.asarray(matrix, np.int64)
    between = matrix * _same_object(objects)
    np.fill_diagonal(between, 0)
    share = ratio(between, matrix.sum(1, keepdims=True))
    rows = [
        PartConfusion(objects[t], names[t], names[p], float(share[t, p]), int(between[t, p]))
        for t, p in zip(*np.nonzero(between), strict=True)
    ]
    return sorted(rows, key=lambda row: -row.share)


@dataclasses.dataclass(frozen=True)
class ErrorShares:
    """Shares of the labelled pixels, which sum to 1; NaN without labelled pixels.

    Attributes:
      right: Correctly predicted.
      same_object: Predicted as another part of the same object.
      other_object: Predicted as a part of another object.
    """

    right: float
    same_object: float
    other_object: float


def error_shares(matrix: Int[np.ndarray, "classes classes"], objects: Sequence[str]) -> ErrorShares:
    """Separates confusion of parts from confusion of objects.

    Args:
      matrix: As in `segmentation_scores`.
      objects: The object of each class, by label.

    Raises:
      JaxpartError: The numbers of objects and classes differ.
    """
    check_names(objects, len(matrix))
    matrix = np.asarray(matrix, np.int64)
    correct = int(np.trace(matrix))
    within = int(matrix[_same_object(objects)].sum())
    counts = np.asarray([correct, within - correct, matrix.sum() - within])
    return ErrorShares(*ratio(counts, matrix.sum()).tolist())


def _same_object(objects: Sequence[str]) -> Bool[np.ndarray, "classes classes"]:
    """Whether two classes belong to the same object."""
    names = np.asarray(objects)
    return names[:, None] == names[None]
