"""Exact expectation of average precision for a random order."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from jaxpart.metrics.average_precision import RetrievalResult, summary


def chance_level(parts: Sequence[Hashable]) -> float:
    """Expected mean AP of queries of these parts among as many other items of the same parts."""
    _, counts = np.unique(np.asarray(parts), return_counts=True)
    expected = [_expected(count, len(parts)) for count in counts.tolist()]
    return float(np.average(expected, weights=counts))


def chance_retrieval(parts: Sequence[Any], *, exclude_self: bool = False) -> RetrievalResult:
    """Expectation of `average_precision` over all orders of the other items.

    Without `exclude_self` the query is retrieved first.

    Raises:
      JaxpartError: With `exclude_self`: no part has more than one item.
    """
    names, labels, counts = np.unique(np.asarray(parts), return_inverse=True, return_counts=True)
    total = len(labels)
    if exclude_self:
        expected = [_expected(count - 1, total - 1) if count > 1 else np.nan for count in counts]
    else:
        expected = [_expected_after_itself(count, total) for count in counts]
    return summary(np.array(expected, np.float64)[labels], names, labels)


def _expected(positives: int, total: int) -> float:
    """Expected AP: the mean over ranks of the expected precision, given a positive at that rank."""
    if not positives or total == 1:
        return float(positives > 0)
    rank = np.arange(1, total + 1)
    before = (rank - 1) * (positives - 1) / (total - 1)
    return float(((1 + before) / rank).mean())


def _expected_after_itself(positives: int, total: int) -> float:
    """Expected AP if the query itself comes first and is one of the positives."""
    if positives == 1:
        return 1.0
    rank = np.arange(2, total + 1)
    before = 2 + (rank - 2) * (positives - 2) / max(total - 2, 1)
    return float((1 + (positives - 1) * (before / rank).mean()) / positives)
