"""Paired comparison of two encoders on the same items.

Whole images are resampled, as in `jaxpart.metrics.bootstrap`; p comes from the permutation test that swaps
the encoders on each image with probability ½.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64, Int

from jaxpart.metrics.accuracy import Difference
from jaxpart.metrics.bootstrap import resampled_sums
from jaxpart.metrics.confusion import mean_of_numbers, ratio

_PERMUTATIONS = 2000
_BLOCK = 1 << 24
"""Number of coin flips times columns in memory at once."""


def retrieval_difference(
    first: Float[np.ndarray, " query"],
    second: Float[np.ndarray, " query"],
    images: Int[np.ndarray, " query"],
) -> Difference:
    """AP of a first encoder minus that of a second.

    AP is NaN, in both, for queries without positives.
    """
    counted = ~np.isnan(first)
    _, image = np.unique(images[counted], return_inverse=True)
    by_image = [np.bincount(image, ap[counted]) for ap in (first, second)]
    queries = np.bincount(image)

    def mean(sums: Float64[np.ndarray, "draw 2"]) -> Float64[np.ndarray, " draw"]:
        return ratio(sums[:, 0], sums[:, 1])

    tables = [np.stack([ap, queries], axis=1) for ap in by_image]
    better = np.round(first[counted] - second[counted], 9)
    return _difference(tables[0], tables[1], mean, better)


def segmentation_difference(
    first: Int[np.ndarray, "image 3 class"],
    second: Int[np.ndarray, "image 3 class"],
) -> Difference:
    """mIoU of a first encoder minus that of a second.

    The counts are correct, labelled and predicted pixels.
    """
    images, _, classes = first.shape

    def mean_iou(sums: Float64[np.ndarray, "draw column"]) -> Float64[np.ndarray, " draw"]:
        correct, labelled, predicted = sums.reshape(-1, 3, classes).swapaxes(0, 1)
        return mean_of_numbers(ratio(correct, labelled + predicted - correct))

    tables = [counts.reshape(images, -1) for counts in (first, second)]
    better = np.nan_to_num(np.round(mean_iou(tables[0]) - mean_iou(tables[1]), 9))
    return _difference(tables[0], tables[1], mean_iou, better)


def _difference(
    first: np.ndarray,
    second: np.ndarray,
    statistic: Callable[[np.ndarray], Float64[np.ndarray, " draw"]],
    better: Float64[np.ndarray, " item"],
) -> Difference:
    """The difference of a statistic of sums over images.

    The tables hold each image's contribution to the sums; `statistic` maps sums [draw, column] to a value
    per draw, and `better` is how much better the first is on each item.
    """
    # Both resample the same images.
    drawn = [statistic(resampled_sums(table)) for table in (first, second)]
    differences = drawn[0] - drawn[1]
    low, high = np.nanquantile(differences, (0.025, 0.975))
    total = first.sum(axis=0, keepdims=True), second.sum(axis=0, keepdims=True)
    value = float((statistic(total[0]) - statistic(total[1]))[0])
    return Difference(
        value,
        float(low),
        float(high),
        p=_permutation_p(first, second, statistic, value),
        first_only=int((better > 0).sum()),
        second_only=int((better < 0).sum()),
    )


def _permutation_p(
    first: np.ndarray,
    second: np.ndarray,
    statistic: Callable[[np.ndarray], Float64[np.ndarray, " draw"]],
    value: float,
) -> float:
    """Share of random swaps with a difference at least as large, including the observed one."""
    left, right = (np.asarray(table, np.float64) for table in (first, second))
    random = np.random.default_rng(0)
    total, extreme = left.sum(axis=0) + right.sum(axis=0), 0
    rows = max(1, min(_PERMUTATIONS, _BLOCK // max(left.shape)))
    for start in range(0, _PERMUTATIONS, rows):
        coins = random.integers(0, 2, (min(rows, _PERMUTATIONS - start), len(left))).astype(
            np.float64
        )
        sums = coins @ (left - right) + right.sum(axis=0)
        differences = statistic(sums) - statistic(total - sums)
        extreme += int((np.abs(differences) >= abs(value) - 1e-12).sum())
    return (extreme + 1) / (_PERMUTATIONS + 1)
