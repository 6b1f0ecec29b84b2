"""Average precision of all-pairs retrieval, with scikit-learn's rule for ties, in blocks of queries.

AP of a query is the mean, over its positives, of the precision at the similarity of that positive:
the share of positives among all items at least as similar. That is `sklearn.metrics.
average_precision_score` (items of equal similarity share one threshold) without its curve.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import threadpoolctl
from jaxtyping import Array, Bool, Float, Float32, Float64, Int

from jaxpart import devices
from jaxpart.cpu.row_sort import sort_rows, width_for
from jaxpart.errors import JaxpartError
from jaxpart.metrics.similarities import Rows, symmetric_products, unit_rows

_BELOW_COSINES = -1.5
"""What the similarity of an item that is not there is set to."""

_HOST_BLOCK_VALUES = 16 << 20
"""Similarities held at once on the host."""

_CACHED_VALUES = 512 << 10
"""Similarities that a thread sorts at once: a few MB with all intermediates, near its core, and calls
long enough for threads not to wait for each other."""

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
    features: Rows,
    parts: Sequence[Any],
    *,
    exclude_self: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> RetrievalResult:
    """Retrieves every item with every other by cosine similarity (PROTOCOL.md, "Part retrieval").

    On an accelerator everything stays on the device; on CPU it runs in NumPy, whose sort is faster
    than XLA's. Memory grows with the number of items, not with its square: beside the features there is
    one float32 copy of them, on the host or on the devices, and some 100 MB.

    Args:
      features: `[items, channels]`, float32: an array, or `jaxpart.features.extract.Features`, of which
        some are read at a time.
      parts: The part of each item: numbers or names. Positives of a query are the items of its part.
      exclude_self: Whether a query does not retrieve itself (the paper's does).
      advance: Is told how many more queries are done.

    Raises:
      JaxpartError: There are no items, lengths differ, or a feature is NaN or infinite.
    """
    if len(features.shape) != 2 or not features.shape[0] or not features.shape[1]:
        raise JaxpartError(
            f"features have the shape {tuple(features.shape)}; give [items, channels], neither zero"
        )
    if len(parts) != features.shape[0]:
        raise JaxpartError(
            f"there are {features.shape[0]} features, but {len(parts)} parts; give one part per feature"
        )
    names, labels = np.unique(np.asarray(parts), return_inverse=True)
    kinds = labels.astype(np.int32)
    if jax.default_backend() == "cpu":
        per_query = _host_queries(unit_rows(features), kinds, exclude_self, advance)
    else:
        per_query = device_queries(features, kinds, exclude_self)
        advance(len(kinds))  # one program does all
    return summary(per_query, names, labels)


def summary(
    per_query: Float64[np.ndarray, " items"], names: np.ndarray, labels: np.ndarray
) -> RetrievalResult:
    """The means of AP by query.

    Args:
      per_query: AP of each query; NaN where it has no positive.
      names: Names of the parts.
      labels: The part of each query, as an index of `names`.

    Raises:
      JaxpartError: No query has a positive.
    """
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


class _Scratch:
    """Memory for the scores of some queries, used again and again: fresh pages cost as much as a sort."""

    def __init__(self, queries: int, items: int) -> None:
        shape = queries, width_for(items)
        self.keys, self.spare, self.found = (np.empty(shape, np.int32) for _ in range(3))
        self.shares = np.empty((queries, items))
        self.flags = np.empty((queries, items), bool)


def average_precision_of(
    similarities: Float32[np.ndarray, "queries items"],
    positives: Bool[np.ndarray, "queries items"],
    scratch: _Scratch | None = None,
) -> Float64[np.ndarray, " queries"]:
    """AP of each row of a similarity matrix, equal to scikit-learn's to rounding in float64.

    Args:
      similarities: float32 scores, not NaN; fastest between -2 and 2. Items below all others that
        are not positive count as not there.
      positives: Which items are right.
      scratch: Memory for at least as many queries.

    Returns:
      AP per row; NaN where it has no positive.
    """
    queries, items = similarities.shape
    scratch = scratch or _Scratch(queries, items)
    keys, spare = scratch.keys[:queries], scratch.spare[:queries]
    # One sort of integers does all: the similarity as an integer that falls where it rises, and below
    # it one bit for "positive". Adding zero first makes -0.0 and 0.0 the same. Between -2 and 2 the
    # float's bits leave room for one more in 32.
    bits, there = keys[:, :items], spare[:, :items]
    np.add(similarities, np.float32(0), out=bits.view(np.float32))
    np.right_shift(bits, 31, out=there)
    there &= np.int32(2**31 - 1)
    bits ^= there
    np.invert(bits, out=bits)
    if similarities.max() < 2 and similarities.min() > -2:
        bits <<= 1
        bits |= positives
        keys[:, items:] = np.iinfo(np.int32).max  # behind all items
        sorted_keys, spare = (a[:, :items] for a in sort_rows(keys, spare))
    else:
        sorted_keys = np.sort((bits.astype(np.int64) << 1) | positives, axis=1)
        spare = there
    positive = np.bitwise_and(sorted_keys, 1, out=spare, casting="unsafe")
    found = np.cumsum(positive, axis=1, out=scratch.found[:queries, :items])
    shares = np.multiply(found, positive, out=scratch.shares[:queries])
    precisions = shares @ (1 / np.arange(1, items + 1))
    # Within a tie positives come last, so that one alone stands at the tie's end; two do not.
    same = scratch.flags[:queries, 1:]
    np.equal(sorted_keys[:, 1:], sorted_keys[:, :-1], out=same)
    tied = np.flatnonzero(same.any(axis=1))
    tied = tied[(same[tied] & (positive[tied, 1:] > 0)).any(axis=1)]
    if len(tied):
        precisions[tied] = _shares_with_ties(sorted_keys[tied] >> 1, positive[tied], found[tied])
    counts = found[:, -1]
    return np.where(counts > 0, precisions / np.maximum(counts, 1), np.nan)


def _shares_with_ties(
    keys: Int[np.ndarray, "queries items"],
    positive: Int[np.ndarray, "queries items"],
    found: Int[np.ndarray, "queries items"],
) -> Float64[np.ndarray, " queries"]:
    """Sum over the positives of a sorted row of the precision at the end of their tie."""
    items = keys.shape[1]
    last = np.ones(keys.shape, bool)
    last[:, :-1] = keys[:, 1:] != keys[:, :-1]
    # Precisions go from a tie's end backwards: both counts grow along the row.
    places = np.where(last, np.arange(1, items + 1), items + 1)
    ends = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
    return (positive * np.take_along_axis(found, ends - 1, axis=1) / ends).sum(axis=1)


def _host_queries(
    rows: Float32[np.ndarray, "items channels"],
    labels: Int[np.ndarray, " items"],
    exclude_self: bool,
    advance: Callable[[int], None],
) -> Float64[np.ndarray, " items"]:
    """AP of every query; threads share the queries of a process, and processes share them all.

    A thread does everything for its queries, the product included: threads of BLAS, which wait for
    the next product in a loop, would take the cores from those that sort.
    """
    items, mine = len(rows), devices.my_share(len(rows))
    threads = os.cpu_count() or 1
    share = max(1, _CACHED_VALUES // items)
    block = max(share, _HOST_BLOCK_VALUES // items // threads)
    per_query = np.zeros(items)
    memory = threading.local()

    def score(start: int, similarities: Float32[np.ndarray, "share items"]) -> None:
        if not hasattr(memory, "scratch"):
            memory.scratch = _Scratch(share, items)
        stop = start + len(similarities)
        positives = labels[start:stop, None] == labels
        if exclude_self:
            own = np.arange(len(similarities)), np.arange(start, stop)
            similarities[own], positives[own] = _BELOW_COSINES, False
        per_query[start:stop] = average_precision_of(similarities, positives, memory.scratch)

    def multiply_and_score(start: int) -> int:
        if not hasattr(memory, "similarities"):
            memory.similarities = np.empty((block, items), np.float32)
        some = rows[start : min(start + block, mine.stop)]
        similarities = np.matmul(some, rows.T, out=memory.similarities[: len(some)])
        for offset in range(0, len(some), share):
            score(start + offset, similarities[offset : offset + share])
        return len(some)

    with (
        threadpoolctl.threadpool_limits(1, "blas"),
        concurrent.futures.ThreadPoolExecutor(threads) as pool,
    ):
        if len(mine) == items and items**2 <= _HOST_BLOCK_VALUES:
            products = symmetric_products(rows, pool)
            starts = range(0, items, share)
            list(pool.map(score, starts, (products[start : start + share] for start in starts)))
            advance(items)
        else:
            for done in pool.map(multiply_and_score, mine[::block]):
                advance(done * items // len(mine))  # processes share them
    return devices.add_up(per_query)


def device_queries(
    features: Rows,
    labels: Int[np.ndarray, " items"],
    exclude_self: bool,
) -> Float64[np.ndarray, " items"]:
    """AP of every query in one compiled program on all devices.

    Each device keeps an equal share of the rows, as queries and as keys; keys go round from device to
    device, so that none holds them all. Counts are exact; precisions are averaged in float32, which
    costs less than 1e-6.
    """
    items, count = len(labels), jax.device_count()
    padded = devices.round_up(items)
    block = max(1, min(padded // count, _DEVICE_BLOCK_VALUES // padded))
    keys = devices.shard_whole(unit_rows(features, padded=padded))
    kind = devices.replicate(np.pad(labels, (0, padded - items), constant_values=-1))
    scores = _ring_queries(keys, kind, items=items, block=block, exclude_self=exclude_self)
    return np.asarray(devices.fetch(scores), np.float64)[:items]


@functools.partial(jax.jit, static_argnames=("items", "block", "exclude_self"))
def _ring_queries(
    rows: Float[Array, "padded channels"],
    labels: Int[Array, " padded"],
    *,
    items: int,
    block: int,
    exclude_self: bool,
) -> Float[Array, " padded"]:
    def share(
        rows: Float[Array, "share channels"], labels: Int[Array, " padded"]
    ) -> Float[Array, " share"]:
        place = devices.place()

        def score(queries: Int[Array, " block"]) -> Float[Array, " block"]:
            similarities = devices.ring(
                lambda keys: jnp.matmul(rows[queries], keys.T, precision=jax.lax.Precision.HIGHEST),
                rows,
            )
            return _scores(similarities, labels, queries + place * len(rows), items, exclude_self)

        blocks = -(-len(rows) // block)
        queries = jnp.arange(blocks * block) % len(rows)  # the last block wraps round
        return jax.lax.map(score, queries.reshape(blocks, block)).reshape(-1)[: len(rows)]

    return devices.on_shares(share)(rows, labels)


def _scores(
    similarities: Float[Array, "block padded"],
    labels: Int[Array, " padded"],
    queries: Int[Array, " block"],
    items: int,
    exclude_self: bool,
) -> Float[Array, " block"]:
    """AP of some queries from their similarities to all items."""
    place = jnp.arange(len(labels))
    there = jnp.broadcast_to(place < items, similarities.shape)
    if exclude_self:
        there &= queries[:, None] != place
    similarities = jnp.where(there, similarities, -jnp.inf)
    positives = there & (labels[queries][:, None] == labels)
    # Descending, so that what lies at or before a place is at least as similar.
    descending, right = jax.lax.sort((-similarities, positives.astype(jnp.int32)), num_keys=1)
    found = jnp.cumsum(right, axis=1)
    last_of_tie = jnp.concatenate(
        [descending[:, 1:] != descending[:, :-1], jnp.ones((len(queries), 1), bool)], axis=1
    )
    # Both counts grow along the row: the value at the end of a tie is the next one marked.
    at_tie_end = [
        jax.lax.cummin(jnp.where(last_of_tie, count, len(labels) + 1), axis=1, reverse=True)
        for count in (found, jnp.broadcast_to(place + 1, found.shape))
    ]
    precision = at_tie_end[0] / at_tie_end[1]
    return (right * precision).sum(axis=1) / right.sum(axis=1)
