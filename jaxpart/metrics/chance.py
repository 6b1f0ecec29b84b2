"""Exact expectation of average precision for a random order."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from jaxpart.metrics.average_precision import RetrievalResult, summary


def chance_level(query_parts: Sequence[Hashable], key_parts: Sequence[Hashable]) -> float:
    """Expected mean AP of queries that are not among the keys.

    Args:
      query_parts: The part of each query.
      key_parts: The part of each key.
    """
    names, counts = np.unique(np.asarray(key_parts), return_counts=True)
    positives = dict(zip(names.tolist(), counts.tolist(), strict=True))
    parts, numbers = np.unique(np.asarray(query_parts), return_counts=True)
    each = [_expected(positives.get(part, 0), len(key_parts)) for part in parts.tolist()]
    return float(np.average(each, weights=numbers))


def chance_retrieval(parts: Sequence[Any], *, exclude_self: bool = False) -> RetrievalResult:
    """Expectation of `average_precision` over all orders of the other items.

    Args:
      parts: The part of each item.
      exclude_self: Whether a query does not retrieve itself; else it retrieves itself first.

    Raises:
      JaxpartError: With `exclude_self`: no item has another one of its part.
    """
    names, labels, counts = np.unique(np.asarray(parts), return_inverse=True, return_counts=True)
    total = len(labels)
    if exclude_self:
        each = [_expected(right - 1, total - 1) if right > 1 else np.nan for right in counts]
    else:
        each = [_expected_behind_itself(right, total) for right in counts]
    return summary(np.array(each, np.float64)[labels], names, labels)


def _expected(right: int, total: int) -> float:
    """Expected AP: the mean over ranks of the expected precision, given a positive at that rank."""
    if not right or total == 1:
        return float(right > 0)
    rank = np.arange(1, total + 1)
    before = (rank - 1) * (right - 1) / (total - 1)
    return float(((1 + before) / rank).mean())


def _expected_behind_itself(right: int, total: int) -> float:
    """Expected AP if the query itself comes first and is one of the positives."""
    if right == 1:
        return 1.0
    rank = np.arange(2, total + 1)
    before = 2 + (rank - 2) * (right - 2) / max(total - 2, 1)
    return float((1 + (right - 1) * (before / rank).mean()) / right)
