"""95 % intervals by resampling images: what comes of one image is not independent.

Whole images are drawn with replacement, as often as there are. All that the statistics need is a sum per
image, so that a resample is a product of counts with these sums.
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
"""Images drawn at a time."""


class Interval(NamedTuple):
    """The middle 95 % of a bootstrap distribution; NaN where no resample gives a number."""

    low: float
    high: float


def resampled_sums(
    table: Num[np.ndarray, "image column"], *, seed: int = 0
) -> Float64[np.ndarray, "resample column"]:
    """Sums over the images of each resample.

    Args:
      table: What each image adds.
      seed: Of the resampling.
    """
    images = len(table)
    random = np.random.default_rng(seed)
    table = np.asarray(table, np.float64)
    rows = max(1, min(_RESAMPLES, _BLOCK // images))
    sums = []
    for start in range(0, _RESAMPLES, rows):
        count = min(rows, _RESAMPLES - start)
        drawn = random.integers(images, size=(count, images))
        drawn += np.arange(count)[:, None] * images
        times = np.bincount(drawn.ravel(), minlength=count * images).reshape(count, images)
        sums.append(times @ table)
    return np.concatenate(sums)


def retrieval_intervals(
    per_query: Float[np.ndarray, " query"],
    parts: Sequence[Any],
    images: Sequence[Any],
    *,
    seed: int = 0,
) -> tuple[Interval, Interval]:
    """Of AP and mAP over queries; what is retrieved stays the same.

    Args:
      per_query: AP of each query; NaN where it has no positive, as in `RetrievalResult.per_query`.
      parts: Part of each query.
      images: Image of each query.
      seed: Of the resampling.
    """
    counted = ~np.isnan(per_query)
    _, part = np.unique(np.asarray(parts)[counted], return_inverse=True)
    _, image = np.unique(np.asarray(images)[counted], return_inverse=True)
    shape = int(image.max()) + 1, int(part.max()) + 1
    cell = image * shape[1] + part
    size = shape[0] * shape[1]
    total = np.bincount(cell, per_query[counted], size).reshape(shape)
    number = np.bincount(cell, minlength=size).reshape(shape)
    total, number = np.split(resampled_sums(np.concatenate([total, number], 1), seed=seed), 2, 1)
    ap = total.sum(axis=1) / number.sum(axis=1)
    return middle(ap), middle(mean_of_numbers(ratio(total, number)))


def ratio_interval(table: Num[np.ndarray, "image 2"], *, seed: int = 0) -> Interval:
    """Of a ratio of sums over images.

    Args:
      table: What each image adds to the numerator and to the denominator.
      seed: Of the resampling.
    """
    if not len(table):
        return Interval(float("nan"), float("nan"))
    above, below = resampled_sums(table, seed=seed).T
    return middle(ratio(above, below))


class SegmentationIntervals(NamedTuple):
    """Of the means of `jaxpart.metrics.confusion.SegmentationScores`."""

    mean_iou: Interval
    mean_accuracy: Interval
    pixel_accuracy: Interval


def segmentation_intervals(
    counts: Int[np.ndarray, "image 3 class"], *, seed: int = 0
) -> SegmentationIntervals:
    """Of mIoU, mAcc and aAcc over images.

    Args:
      counts: Of each image and class the pixels found, labelled and predicted, see `image_counts`.
      seed: Of the resampling.
    """
    images, _, classes = counts.shape
    sums = resampled_sums(counts.reshape(images, -1), seed=seed).reshape(-1, 3, classes)
    found, labelled, predicted = sums.swapaxes(0, 1)
    return SegmentationIntervals(
        middle(mean_of_numbers(ratio(found, labelled + predicted - found))),
        middle(mean_of_numbers(ratio(found, labelled))),
        middle(ratio(found.sum(axis=1), labelled.sum(axis=1))),
    )


def middle(values: Float64[np.ndarray, " resample"]) -> Interval:
    """The middle 95 % of the resamples that give a number."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(float("nan"), float("nan"))
    return Interval(*(float(end) for end in np.quantile(values, _ENDS)))
