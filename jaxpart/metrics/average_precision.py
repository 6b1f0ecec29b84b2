"""Average precision of all-pairs retrieval, with scikit-learn's rule for ties, in blocks of queries.

AP of a query is the mean, over its positives, of the precision at the similarity of that positive:
the share of positives among all items at least as similar. That is `sklearn.metrics.
average_precision_score` (items of equal similarity share one threshold) without its curve. `_scores`
computes just that, on the devices; `jaxpart.cpu.ranking` has the same for NumPy.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from jaxpart import devices
from jaxpart.cpu.ranking import host_queries
from jaxpart.errors import JaxpartError
from jaxpart.metrics.similarities import Rows, unit_rows

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
    """Retrieves every item with every other by cosine similarity (docs/protocol.md, "Part retrieval").

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
    if devices.backend() == "cpu":
        per_query = host_queries(unit_rows(features), kinds, exclude_self, advance)
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
    arrays, options = placed(features, labels, exclude_self=exclude_self)
    scores = ring_queries(*arrays, **options)
    return np.asarray(devices.fetch(scores), np.float64)[: len(labels)]


def placed(
    features: Rows, labels: Int[np.ndarray, " items"], *, exclude_self: bool
) -> tuple[tuple[Array, Array], dict[str, Any]]:
    """What `ring_queries` is called with: arrays on the devices, and options."""
    items = len(labels)
    padded = devices.round_up(items)
    block = max(1, min(padded // devices.count(), _DEVICE_BLOCK_VALUES // padded))
    keys = devices.shard_whole(unit_rows(features, padded=padded))
    kind = devices.replicate(np.pad(labels, (0, padded - items), constant_values=-1))
    return (keys, kind), {"items": items, "block": block, "exclude_self": exclude_self}


@functools.partial(jax.jit, static_argnames=("items", "block", "exclude_self"))
def ring_queries(
    rows: Float[Array, "padded channels"],
    labels: Int[Array, " padded"],
    *,
    items: int,
    block: int,
    exclude_self: bool,
) -> Float[Array, " padded"]:
    """AP of every query, cut over the devices as the rows are; see `placed`."""

    def share(
        rows: Float[Array, "share channels"], labels: Int[Array, " padded"]
    ) -> Float[Array, " share"]:
        share = devices.share_index()

        def score(queries: Int[Array, " block"]) -> Float[Array, " block"]:
            similarities = devices.ring(
                lambda keys: jnp.matmul(rows[queries], keys.T, precision=jax.lax.Precision.HIGHEST),
                rows,
            )
            return _scores(similarities, labels, queries + share * len(rows), items, exclude_self)

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
    """AP of some queries from their similarities to all items.

    Each row is sorted once, as 32-bit integers: the cosine as an integer that falls where it rises,
    and in the lowest bit whether the item is positive. Sorting floats with a payload takes longer.
    """
    place = jnp.arange(len(labels))
    there = jnp.broadcast_to(place < items, similarities.shape)
    if exclude_self:
        there &= queries[:, None] != place
    positives = there & (labels[queries][:, None] == labels)
    similarities = jnp.where(similarities == 0, 0.0, similarities)  # -0.0 ties with 0.0
    bits = jax.lax.bitcast_convert_type(similarities, jnp.int32)
    bits = ~(bits ^ (bits >> 31 & np.int32(2**31 - 1)))
    # Between -2 and 2 the two highest bits are equal: one makes room. Absent items come last.
    keys = jnp.where(there, bits << 1 | positives, np.int32(2**31 - 2))
    keys = jax.lax.sort(keys, is_stable=False)
    found = jnp.cumsum(keys & 1, axis=1)
    similarity = keys >> 1
    ends_tie = jnp.diff(similarity, axis=1, append=similarity[:, -1:] + 1) != 0
    # All positives of a tie have the precision at its end.
    before = jax.lax.cummax(jnp.where(ends_tie, found, 0), axis=1)
    of_tie = found - jnp.pad(before[:, :-1], ((0, 0), (1, 0)))
    precision = found / (place + 1)
    return jnp.where(ends_tie, of_tie * precision, 0).sum(axis=1) / found[:, -1]
