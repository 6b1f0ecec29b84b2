"""95 % bootstrap intervals over images, since items of one image are not independent.

Whole images are drawn with replacement. The statistics depend on sums over images only, so a resample is a
product of counts with the sums of each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int, Num

from jaxpart.metrics.confusion import mean_of_numbers, ratio

_RESAMPLES = 2000
_ENDS = (0.025, 0.975)
_BLOCK = 1 << 22
"""Number of images drawn at once."""


class Interval(NamedTuple):
    """The central 95 % of a bootstrap distribution; NaN if all resamples are NaN."""

    low: float
    high: float


def resampled_sums(
    table: Num[np.ndarray, "image column"],
) -> Float64[np.ndarray, "resample column"]:
    """Sums of the images' contributions in each resample; the draws use a fixed seed."""
    images = len(table)
    random = np.random.default_rng(0)
    table = np.asarray(table, np.float64)
    rows = max(1, min(_RESAMPLES, _BLOCK // images))
    sums = []
    for start in range(0, _RESAMPLES, rows):
        count = min(rows, _RESAMPLES - start)
        drawn = random.integers(images, size=(count, images))
        drawn += np.arange(count)[:, None] * images
        weights = np.bincount(drawn.ravel(), minlength=count * images).reshape(count, images)
        sums.append(weights @ table)
    return np.concatenate(sums)


def retrieval_intervals(
    per_query: Float[np.ndarray, " query"],
    parts: Sequence[Any],
    images: Sequence[Any],
) -> tuple[Interval, Interval]:
    """Intervals of AP and mAP over queries; the retrieved items are not resampled."""
    counted = ~np.isnan(per_query)
    _, part = np.unique(np.asarray(parts)[counted], return_inverse=True)
    _, image = np.unique(np.asarray(images)[counted], return_inverse=True)
    shape = int(image.max()) + 1, int(part.max()) + 1
    cell = image * shape[1] + part
    size = shape[0] * shape[1]
    total = np.bincount(cell, per_query[counted], size).reshape(shape)
    number = np.bincount(cell, minlength=size).reshape(shape)
    total, number = np.split(resampled_sums(np.concatenate([total, number], 1)), 2, 1)
    ap = total.sum(axis=1) / number.sum(axis=1)
    return middle(ap), middle(mean_of_numbers(ratio(total, number)))


def ratio_interval(table: Num[np.ndarray, "image 2"]) -> Interval:
    """The interval of a ratio of sums over images, given each image's numerator and denominator."""
    if not len(table):
        return Interval(float("nan"), float("nan"))
    numerator, denominator = resampled_sums(table).T
    return middle(ratio(numerator, denominator))


class SegmentationIntervals(NamedTuple):
    """Intervals of the means in `jaxpart.metrics.confusion.SegmentationScores`."""

    mean_iou: Interval
    mean_accuracy: Interval
    pixel_accuracy: Interval


def segmentation_intervals(counts: Int[np.ndarray, "image 3 class"]) -> SegmentationIntervals:
    """Intervals of mIoU, mAcc and aAcc over images.

    For the counts see `image_counts`.
    """
    images, _, classes = counts.shape
    sums = resampled_sums(counts.reshape(images, -1)).reshape(-1, 3, classes)
    correct, labelled, predicted = sums.swapaxes(0, 1)
    return SegmentationIntervals(
        middle(mean_of_numbers(ratio(correct, labelled + predicted - correct))),
        middle(mean_of_numbers(ratio(correct, labelled))),
        middle(ratio(correct.sum(axis=1), labelled.sum(axis=1))),
    )


def middle(values: Float64[np.ndarray, " resample"]) -> Interval:
    """The central 95 % of the resamples, ignoring NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(float("nan"), float("nan"))
    return Interval(*(float(end) for end in np.quantile(values, _ENDS)))
