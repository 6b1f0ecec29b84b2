"""Accuracy with its uncertainty, and the paired comparison of two classifiers on the same items.

An item's score is the share of seeds that classified it correctly: 0 or 1 with one seed. Items with equal
scores are interchangeable, so we resample their counts instead of the items.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy import stats

from jaxpart.errors import JaxpartError

_RESAMPLES = 20_000


class Accuracy(NamedTuple):
    """An accuracy from 0 to 1, with its 95 % bootstrap interval over items."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """The score of a first encoder or classifier minus that of a second, on the same items.

    Attributes:
      value: The difference.
      low: 2.5 % quantile of its bootstrap distribution over items.
      high: 97.5 % quantile.
      p: Two-sided p value of the permutation test that swaps each item's scores with probability ½. With
        one seed this is McNemar's exact test.
      first_only: Number of items on which the first is better.
      second_only: Number of items on which the second is better.
    """

    value: float
    low: float
    high: float
    p: float
    first_only: int
    second_only: int


def item_scores(
    predictions: Int[np.ndarray, "seed item"], labels: Int[np.ndarray, " item"]
) -> Float64[np.ndarray, " item"]:
    """Share of the seeds that classified each item correctly."""
    return (predictions == labels).mean(axis=0)


def accuracy(scores: Float[np.ndarray, " item"]) -> Accuracy:
    """Mean of the items' scores with its 95 % bootstrap interval.

    Raises:
      JaxpartError: There are no items.
    """
    if not len(scores):
        raise JaxpartError("there are no test items; check the data set and its options")
    values, counts = np.unique(scores, return_counts=True)
    shares = counts / len(scores)
    drawn = np.random.default_rng(0).multinomial(len(scores), shares, _RESAMPLES)
    low, high = np.quantile(drawn @ values / len(scores), (0.025, 0.975))
    return Accuracy(float(np.mean(scores)), float(low), float(high))


def paired_difference(
    first: Float[np.ndarray, " item"], second: Float[np.ndarray, " item"]
) -> Difference:
    """Compares two classifiers by their scores on the same items, in the same order.

    Raises:
      JaxpartError: There are no items, or different numbers of them.
    """
    if first.shape != second.shape:
        raise JaxpartError(
            f"the classifiers were tested on {len(first)} and {len(second)} items; compare them on "
            "the same ones"
        )
    differences = np.round(first - second, 9)
    return Difference(
        *accuracy(differences),
        p=_swap_test(differences),
        first_only=int((differences > 0).sum()),
        second_only=int((differences < 0).sum()),
    )


def _swap_test(differences: Float64[np.ndarray, " item"]) -> float:
    """Two-sided p value of the sum of differences under random signs."""
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    if len(sizes) == 1:  # an exact binomial test
        wins = int((differences > 0).sum())
        return float(stats.binomtest(wins, int(counts[0])).pvalue)
    heads = np.random.default_rng(0).binomial(counts, 0.5, (_RESAMPLES, len(counts)))
    sums = np.abs((2 * heads - counts) @ sizes)
    extreme = (sums >= abs(differences.sum()) - 1e-9).sum()
    return float((extreme + 1) / (_RESAMPLES + 1))
