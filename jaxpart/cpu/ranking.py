"""Average precision in NumPy, whose vectorised sort is faster than XLA's on a CPU."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Callable

import numpy as np
import threadpoolctl
from jaxtyping import Bool, Float32, Float64, Int

from jaxpart import devices

_BELOW_COSINES = -1.5
"""Similarity assigned to an excluded item."""

_BLOCK_VALUES = 64 << 20
"""Similarities in memory at once."""

_CACHED_VALUES = 512 << 10
"""Similarities that a thread sorts at once: a few MB with all intermediates, in its core's cache, and calls
long enough that threads do not wait for each other."""

_TILE = 512
"""Rows of a square tile of products, which is mirrored while in a core's cache."""


def average_precision_of(
    similarities: Float32[np.ndarray, "queries items"],
    positives: Bool[np.ndarray, "queries items"],
) -> Float64[np.ndarray, " queries"]:
    """AP of each row of a similarity matrix, equal to scikit-learn's up to rounding in float64.

    Args:
      similarities: float32 scores, not NaN; fastest between -2 and 2. Items below all others that
        are not positive count as absent.
      positives: Which items are relevant.

    Returns:
      AP per row; NaN without positives.
    """
    items = similarities.shape[1]
    # One integer sort suffices: the similarity as a decreasing integer, with a lowest bit that marks
    # positives. Adding zero first turns -0.0 into 0.0. Between -2 and 2 the float's bits leave one of
    # 32 free.
    bits = (similarities + np.float32(0)).view(np.int32)
    bits ^= (bits >> 31) & np.int32(2**31 - 1)
    np.invert(bits, out=bits)
    if similarities.max() < 2 and similarities.min() > -2:
        bits <<= 1
        bits |= positives
        keys: Int[np.ndarray, "queries items"] = bits
    else:
        keys = (bits.astype(np.int64) << 1) | positives
    keys.sort(axis=1)
    positive = (keys & 1).astype(np.int32, copy=False)
    hits = np.cumsum(positive, axis=1, dtype=np.int32)
    precisions = (hits * positive) @ (1 / np.arange(1, items + 1))
    # Within a tie positives come last, so a single one is already at the tie's end; two are not.
    same = keys[:, 1:] == keys[:, :-1]
    tied = np.flatnonzero(same.any(axis=1))
    tied = tied[(same[tied] & (positive[tied, 1:] > 0)).any(axis=1)]
    if len(tied):
        precisions[tied] = _shares_with_ties(keys[tied] >> 1, positive[tied], hits[tied])
    counts = hits[:, -1]
    return np.where(counts > 0, precisions / np.maximum(counts, 1), np.nan)


def _shares_with_ties(
    keys: Int[np.ndarray, "queries items"],
    positive: Int[np.ndarray, "queries items"],
    hits: Int[np.ndarray, "queries items"],
) -> Float64[np.ndarray, " queries"]:
    """Sum over the positives of a sorted row of the precision at the end of their tie."""
    items = keys.shape[1]
    last = np.ones(keys.shape, bool)
    last[:, :-1] = keys[:, 1:] != keys[:, :-1]
    # Each item gets the rank at its tie's end, found from behind.
    ranks = np.where(last, np.arange(1, items + 1), items + 1)
    ends = np.minimum.accumulate(ranks[:, ::-1], axis=1)[:, ::-1]
    return (positive * np.take_along_axis(hits, ends - 1, axis=1) / ends).sum(axis=1)


def host_queries(
    rows: Float32[np.ndarray, "items channels"],
    labels: Int[np.ndarray, " items"],
    exclude_self: bool,
    advance: Callable[[int], None],
) -> Float64[np.ndarray, " items"]:
    """AP of every query; processes share all queries, and threads share those of a process.

    A thread does everything for its queries, the product included: BLAS threads, which spin while
    waiting for the next product, would take the cores from those that sort.
    """
    items, local = len(rows), devices.my_share(len(rows))
    threads = os.cpu_count() or 1
    share = max(1, _CACHED_VALUES // items)
    block = max(share, _BLOCK_VALUES // items // threads)
    per_query = np.zeros(items)

    def score(start: int, similarities: Float32[np.ndarray, "share items"]) -> None:
        stop = start + len(similarities)
        positives = labels[start:stop, None] == labels
        if exclude_self:
            diagonal = np.arange(len(similarities)), np.arange(start, stop)
            similarities[diagonal], positives[diagonal] = _BELOW_COSINES, False
        per_query[start:stop] = average_precision_of(similarities, positives)

    def multiply_and_score(start: int) -> int:
        queries = rows[start : min(start + block, local.stop)]
        similarities = queries @ rows.T
        for offset in range(0, len(queries), share):
            score(start + offset, similarities[offset : offset + share])
        return len(queries)

    with (
        threadpoolctl.threadpool_limits(1, "blas"),
        concurrent.futures.ThreadPoolExecutor(threads) as pool,
    ):
        if len(local) == items and items**2 <= _BLOCK_VALUES:
            products = symmetric_products(rows, pool)
            starts = range(0, items, share)
            list(pool.map(score, starts, (products[start : start + share] for start in starts)))
            advance(items)
        else:
            for done in pool.map(multiply_and_score, local[::block]):
                advance(done * items // len(local))  # scaled up to all processes
    return devices.add_up(per_query)


def symmetric_products(
    rows: Float32[np.ndarray, "items channels"], pool: concurrent.futures.Executor
) -> Float32[np.ndarray, "items items"]:
    """Inner products of all pairs of rows, each computed once: half the work of a matrix product."""
    items = len(rows)
    products = np.empty((items, items), np.float32)

    def fill(i: int, j: int) -> None:
        tile = products[i : i + _TILE, j : j + _TILE]
        np.matmul(rows[i : i + _TILE], rows[j : j + _TILE].T, out=tile)
        if i != j:
            products[j : j + _TILE, i : i + _TILE] = tile.T

    starts = range(0, items, _TILE)
    list(pool.map(fill, *zip(*((i, j) for i in starts for j in starts if j <= i), strict=True)))
    return products
