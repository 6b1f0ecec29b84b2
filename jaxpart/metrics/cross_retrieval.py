"""Average precision of queries against a separate set of items."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Float64

from jaxpart.cpu.ranking import average_precision_of
from jaxpart.errors import JaxpartError
from jaxpart.metrics.similarities import unit_rows

_BLOCK_VALUES = 4 << 20
"""Number of similarities in memory at once."""


def cross_average_precision(
    queries: Float[np.ndarray, "queries channels"],
    keys: Float[np.ndarray, "keys channels"],
    query_parts: Sequence[Hashable],
    key_parts: Sequence[Hashable],
) -> Float64[np.ndarray, " queries"]:
    """AP of each query, retrieving the keys by cosine similarity.

    Like `average_precision` (ties share a threshold), but queries are not among the keys.

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
    rows, columns = unit_rows(queries), unit_rows(keys)
    row_parts, column_parts = np.asarray(query_parts), np.asarray(key_parts)
    block = max(1, _BLOCK_VALUES // len(keys))
    scores = [
        average_precision_of(
            rows[start : start + block] @ columns.T,
            row_parts[start : start + block, None] == column_parts,
        )
        for start in range(0, len(rows), block)
    ]
    return np.concatenate(scores) if scores else np.zeros(0)
