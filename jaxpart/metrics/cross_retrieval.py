"""Average precision of queries that retrieve other items."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Float64

from jaxpart.cpu.ranking import average_precision_of
from jaxpart.errors import JaxpartError
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
