"""Average precision of queries that retrieve other items, and what chance would give."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Float64

from jaxpart.errors import JaxpartError
from jaxpart.metrics.average_precision import average_precision_of
from jaxpart.metrics.similarities import unit_rows

_BLOCK_VALUES = 4 << 20
"""Similarities held at once."""


def cross_average_precision(
    queries: Float[np.ndarray, "queries channels"],
    keys: Float[np.ndarray, "keys channels"],
    query_parts: Sequence[Hashable],
    key_parts: Sequence[Hashable],
) -> Float64[np.ndarray, " queries"]:
    """AP of each query, which retrieves the keys by cosine similarity.

    The rule is that of `average_precision` (ties share a threshold); no query is among the keys.

    Args:
      queries: Features of the queries.
      keys: Features of the items.
      query_parts: The part of each query.
      key_parts: The part of each item; positives of a query are those of its part.

    Raises:
      JaxpartError: Lengths differ, there are no keys, or a feature is NaN or infinite.
    """
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1] or not len(keys):
        raise JaxpartError(
            f"queries {queries.shape} cannot retrieve among {keys.shape}; give [items, channels] with "
            f"the same channels, and at least one key"
        )
    if len(query_parts) != len(queries) or len(key_parts) != len(keys):
        raise JaxpartError("give one part per feature")
    left, right = unit_rows(queries), unit_rows(keys)
    mine, theirs = np.asarray(query_parts), np.asarray(key_parts)
    block = max(1, _BLOCK_VALUES // len(keys))
    found = [
        average_precision_of(
            left[start : start + block] @ right.T, mine[start : start + block, None] == theirs
        )
        for start in range(0, len(left), block)
    ]
    return np.concatenate(found) if found else np.zeros(0)


def chance_level(
    query_parts: Sequence[Hashable], key_parts: Sequence[Hashable], *, itself: bool = False
) -> float:
    """Mean AP expected of a random order of the keys.

    Args:
      query_parts: The part of each query.
      key_parts: The part of each key.
      itself: Whether each query is among the keys, and so always comes first.
    """
    names, counts = np.unique(np.asarray(key_parts), return_counts=True)
    positives = dict(zip(names.tolist(), counts.tolist(), strict=True))
    parts, numbers = np.unique(np.asarray(query_parts), return_counts=True)
    total = len(key_parts)
    each = [_expected(positives.get(part, 0), total, itself) for part in parts.tolist()]
    return float(np.average(each, weights=numbers))


def _expected(right: int, total: int, itself: bool) -> float:
    """AP expected of one query: its precision at each rank, times how likely a positive is there."""
    rank = np.arange(1, total + 1)
    if not right or total == 1:
        return float(right > 0)
    if not itself:
        before = (rank - 1) * (right - 1) / (total - 1)
        return float(((1 + before) / rank).sum() / total)
    if right == 1:
        return 1.0
    rank, share = rank[1:], (right - 1) / (total - 1)
    before = (rank - 2) * (right - 2) / max(total - 2, 1)
    return float((1 + share * ((2 + before) / rank).sum()) / right)
