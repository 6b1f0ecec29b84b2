"""Average precision of all-pairs retrieval, with scikit-learn's rule for ties, in blocks of queries.

AP of a query is the mean, over its positives, of the precision at the similarity of that positive:
the share of positives among all items at least as similar. That is `sklearn.metrics.
average_precision_score` (items of equal similarity share one threshold) without its curve.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int

from jaxpart.errors import JaxpartError

_COSINE_EPSILON = 1e-8
"""Smallest norm that a feature is divided by, as in `torch.nn.functional.cosine_similarity`."""

_HOST_BLOCK_VALUES = 4 << 20
"""Similarities held at once on the host."""

_CACHED_VALUES = 64 << 10
"""Similarities that a thread sorts at once: with all intermediates they fit its core's cache."""

_DEVICE_BLOCK_VALUES = 64 << 20
"""Similarities held at once on an accelerator."""


@dataclasses.dataclass(frozen=True)
class RetrievalResult:
    """Average precision of every item as a query against all.

    Attributes:
      ap: Mean over queries (the paper's "AP").
      mean_ap: Mean over parts of each part's mean (the paper's "mAP").
      per_part: Mean over the queries of each part, by its name.
      per_query: AP of each query, [items]; NaN where a query has no positive.
      without_positives: Number of such queries (only with `exclude_self`); the means leave them out.
    """

    ap: float
    mean_ap: float
    per_part: dict[Any, float]
    per_query: Float64[np.ndarray, " items"]
    without_positives: int


def average_precision(
    features: Float[Array | np.ndarray, "items channels"],
    parts: Sequence[Any],
    *,
    exclude_self: bool = False,
) -> RetrievalResult:
    """Retrieves every item with every other by cosine similarity (PROTOCOL.md, "Part retrieval").

    On an accelerator everything stays on the device; on CPU it runs in NumPy, whose sort is faster
    than XLA's. Memory grows with the number of items, not with its square.

    Args:
      features: float32 features of the items.
      parts: The part of each item: numbers or names. Positives of a query are the items of its part.
      exclude_self: Whether a query does not retrieve itself (the paper's does).

    Raises:
      JaxpartError: There are no items, lengths differ, or a feature is NaN or infinite.
    """
    if features.ndim != 2 or not features.shape[0] or not features.shape[1]:
        raise JaxpartError(
            f"features have the shape {tuple(features.shape)}; give [items, channels], neither zero"
        )
    if len(parts) != features.shape[0]:
        raise JaxpartError(
            f"there are {features.shape[0]} features, but {len(parts)} parts; give one part per feature"
        )
    names, labels = np.unique(np.asarray(parts), return_inverse=True)
    on_host = jax.default_backend() == "cpu"
    queries = _host_queries if on_host else device_queries
    per_query = queries(_unit_rows(features), labels.astype(np.int32), exclude_self)
    return _summary(per_query, names, labels)


def _unit_rows(
    features: Float[Array | np.ndarray, "items channels"],
) -> Float32[np.ndarray, "items channels"]:
    rows = np.asarray(features, np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise JaxpartError(
            f"the feature of item {int(np.argmin(finite))} is NaN or infinite "
            f"({int((~finite).sum())} of {len(rows)} items); look at its image and the encoder"
        )
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, _COSINE_EPSILON)


def _summary(
    per_query: Float64[np.ndarray, " items"], names: np.ndarray, labels: np.ndarray
) -> RetrievalResult:
    counted = ~np.isnan(per_query)
    if not counted.any():
        raise JaxpartError("no item has another one of its part; there is nothing to retrieve")
    per_part = {
        name: float(per_query[mine].mean())
        for i, name in enumerate(names.tolist())
        if (mine := counted & (labels == i)).any()
    }
    return RetrievalResult(
        ap=float(per_query[counted].mean()),
        mean_ap=float(np.mean(list(per_part.values()))),
        per_part=per_part,
        per_query=per_query,
        without_positives=int((~counted).sum()),
    )


def average_precision_of(
    similarities: Float32[np.ndarray, "queries items"], positives: Bool[np.ndarray, "queries items"]
) -> Float64[np.ndarray, " queries"]:
    """AP of each row of a similarity matrix, equal to scikit-learn's to rounding in float64.

    Args:
      similarities: float32 scores, not NaN. Items at -inf count as not there.
      positives: Which items are right.

    Returns:
      AP per row; NaN where it has no positive.
    """
    items = similarities.shape[1]
    # One sort of integers does all: the similarity as an order-preserving integer, and below it one
    # bit for "positive". Adding zero first makes -0.0 and 0.0 the same.
    bits = (similarities + np.float32(0)).view(np.int32)
    keys = np.where(bits < 0, bits ^ np.int32(2**31 - 1), bits).astype(np.int64)
    keys <<= 1
    keys |= positives
    keys.sort(axis=1)
    columns = np.flatnonzero(keys & 1)  # in one dimension: ten times faster than np.nonzero
    counts = positives.sum(axis=1)
    ends = np.cumsum(counts)
    columns -= np.repeat(np.arange(len(keys)) * items, counts)
    positives_above = np.repeat(ends, counts) - np.arange(len(columns))
    items_above = items - columns
    keys >>= 1
    tied = np.flatnonzero((keys[:, 1:] == keys[:, :-1]).any(axis=1))
    for row in tied:
        start, stop = ends[row] - counts[row], ends[row]
        mine = keys[row, columns[start:stop]]
        items_above[start:stop] = items - np.searchsorted(keys[row], mine, "left")
        positives_above[start:stop] = len(mine) - np.searchsorted(mine, mine, "left")
    sums = np.concatenate([[0.0], np.cumsum(positives_above / items_above)])
    totals = sums[ends] - sums[ends - counts]
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def _host_queries(
    rows: Float32[np.ndarray, "items channels"],
    labels: Int[np.ndarray, " items"],
    exclude_self: bool,
) -> Float64[np.ndarray, " items"]:
    """AP of every query: similarities by BLAS, rows sorted by threads."""
    items = len(rows)
    block = max(1, min(items, _HOST_BLOCK_VALUES // items))
    share = max(1, _CACHED_VALUES // items)
    per_query = np.empty(items)

    def score(start: int, similarities: np.ndarray) -> None:
        stop = start + len(similarities)
        positives = labels[start:stop, None] == labels
        if exclude_self:
            own = np.arange(len(similarities)), np.arange(start, stop)
            similarities[own], positives[own] = -np.inf, False
        per_query[start:stop] = average_precision_of(similarities, positives)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for start in range(0, items, block):
            similarities = rows[start : start + block] @ rows.T
            offsets = range(0, len(similarities), share)
            parts = [similarities[offset : offset + share] for offset in offsets]
            list(pool.map(score, [start + offset for offset in offsets], parts))
    return per_query


def device_queries(
    rows: Float32[np.ndarray, "items channels"],
    labels: Int[np.ndarray, " items"],
    exclude_self: bool,
) -> Float64[np.ndarray, " items"]:
    """AP of every query in one compiled program on the device.

    Counts are exact; precisions are averaged in float32, which costs less than 1e-6.
    """
    items = len(rows)
    block = max(1, min(items, _DEVICE_BLOCK_VALUES // items))
    blocks = -(-items // block)
    queries = np.arange(blocks * block).reshape(blocks, block) % items  # the last block wraps round
    scores = _device_blocks(jnp.asarray(rows), jnp.asarray(labels), queries, exclude_self)
    return np.asarray(scores, np.float64).reshape(-1)[:items]


@functools.partial(jax.jit, static_argnames="exclude_self")
def _device_blocks(
    rows: Float[Array, "items channels"],
    labels: Int[Array, " items"],
    queries: Int[Array, "blocks block"],
    exclude_self: bool,
) -> Float[Array, "blocks block"]:
    items = rows.shape[0]

    def score(query: Int[Array, " block"]) -> Float[Array, " block"]:
        similarities = jnp.matmul(rows[query], rows.T, precision=jax.lax.Precision.HIGHEST)
        positives = labels[query][:, None] == labels
        if exclude_self:
            own = query[:, None] == jnp.arange(items)
            similarities = jnp.where(own, -jnp.inf, similarities)
            positives &= ~own
        # Descending, so that what lies at or before a place is at least as similar.
        descending, right = jax.lax.sort((-similarities, positives.astype(jnp.int32)), num_keys=1)
        found = jnp.cumsum(right, axis=1)
        last_of_tie = jnp.concatenate(
            [descending[:, 1:] != descending[:, :-1], jnp.ones((len(query), 1), bool)], axis=1
        )
        # Both counts grow along the row: the value at the end of a tie is the next one marked.
        at_tie_end = [
            jax.lax.cummin(jnp.where(last_of_tie, count, items + 1), axis=1, reverse=True)
            for count in (found, jnp.broadcast_to(jnp.arange(1, items + 1), found.shape))
        ]
        precision = at_tie_end[0] / at_tie_end[1]
        return (right * precision).sum(axis=1) / right.sum(axis=1)

    return jax.lax.map(score, queries)
