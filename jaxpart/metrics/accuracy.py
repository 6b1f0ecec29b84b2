"""Accuracy with its uncertainty, and the paired comparison of two classifiers on the same items.

An item's score is the share of seeds that classified it right: 0 or 1 with one seed. Both resampling
procedures need no resampling of items one by one, since items of the same score are interchangeable.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy import stats

from jaxpart.errors import JaxpartError

_RESAMPLES = 20_000


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A share of items, with the middle 95 % of its bootstrap distribution over items."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """What a first encoder or classifier reaches minus what a second does, on the same items.

    Attributes:
      value: The difference.
      low: 2.5 % of its bootstrap distribution over items.
      high: 97.5 % of it.
      p: Two-sided: how often at least such a difference comes about if each item's scores are swapped
        by the toss of a coin. With one seed this is McNemar's exact test.
      first_only: Items on which the first is better.
      second_only: Items on which the second is better.
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
    """Share of the seeds that classified each item right."""
    return (predictions == labels).mean(axis=0)


def accuracy(scores: Float[np.ndarray, " item"], *, seed: int = 0) -> Accuracy:
    """Mean of the items' scores with its 95 % bootstrap interval.

    Args:
      scores: See `item_scores`.
      seed: Of the resampling.

    Raises:
      JaxpartError: There are no items.
    """
    return Accuracy(*_bootstrap(scores, seed))


def paired_difference(
    first: Float[np.ndarray, " item"], second: Float[np.ndarray, " item"], *, seed: int = 0
) -> Difference:
    """Compares two classifiers by their scores on the same items, in the same order.

    Raises:
      JaxpartError: There are no items, or not equally many.
    """
    if first.shape != second.shape:
        raise JaxpartError(
            f"the classifiers were tested on {len(first)} and {len(second)} items; compare them on "
            "the same ones"
        )
    differences = np.round(first - second, 9)
    return Difference(
        *_bootstrap(differences, seed),
        p=_swap_test(differences, seed),
        first_only=int((differences > 0).sum()),
        second_only=int((differences < 0).sum()),
    )


def _bootstrap(scores: Float[np.ndarray, " item"], seed: int) -> tuple[float, float, float]:
    """Mean, and 2.5 % and 97.5 % of the means of resampled items."""
    if not len(scores):
        raise JaxpartError("there are no test items; check the data set and its options")
    values, counts = np.unique(scores, return_counts=True)
    shares = counts / len(scores)
    drawn = np.random.default_rng(seed).multinomial(len(scores), shares, _RESAMPLES)
    low, high = np.quantile(drawn @ values / len(scores), (0.025, 0.975))
    return float(np.mean(scores)), float(low), float(high)


def _swap_test(differences: Float64[np.ndarray, " item"], seed: int) -> float:
    """Two-sided p of the sum of differences, their signs being random."""
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    if len(sizes) == 1:  # one size: a binomial test, exactly
        wins = int((differences > 0).sum())
        return float(stats.binomtest(wins, int(counts[0])).pvalue)
    heads = np.random.default_rng(seed).binomial(counts, 0.5, (_RESAMPLES, len(counts)))
    sums = np.abs((2 * heads - counts) @ sizes)
    extreme = (sums >= abs(differences.sum()) - 1e-9).sum()
    return float((extreme + 1) / (_RESAMPLES + 1))
