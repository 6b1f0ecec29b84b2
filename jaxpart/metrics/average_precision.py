"""Average precision of all-pairs retrieval, with scikit-learn's rule for ties, in blocks of queries.

AP of a query is the mean, over its positives, of the precision at the similarity of that positive:
the share of positives among all items at least as similar. This equals `sklearn.metrics.
average_precision_score`, where items of equal similarity share a threshold. `_scores` computes it on the
devices, `jaxpart.cpu.ranking` in NumPy.
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
"""Number of similarities in memory at once on an accelerator."""


@dataclasses.dataclass(frozen=True)
class RetrievalResult:
    """Average precision of every item as a query against all items.

    Attributes:
      ap: Mean over queries (the paper's "AP").
      mean_ap: Mean over parts of each part's mean (the paper's "mAP").
      per_part: Mean over the queries of each part, by its name.
      per_query: AP of each query, [items]; NaN for queries without positives.
      without_positives: Number of such queries (only with `exclude_self`), which the means exclude.
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
    """All-pairs retrieval by cosine similarity (docs/protocol.md, "Part retrieval").

    On accelerators everything runs on the devices; on CPUs in NumPy, whose sort is faster than XLA's.
    Memory is linear in the number of items: one float32 copy of the features, on the host or on the
    devices, and about 100 MB.

    Args:
      features: `[items, channels]`, float32: an array, or `jaxpart.features.extract.Features`, which is
        read in blocks.
      parts: The part of each item, as numbers or names. Items of a query's part are its positives.
      exclude_self: Whether to exclude the query itself from the items (the paper includes it).
      advance: Called with the number of queries just done.

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
    part_labels = labels.astype(np.int32)
    if devices.backend() == "cpu":
        per_query = host_queries(unit_rows(features), part_labels, exclude_self, advance)
    else:
        per_query = device_queries(features, part_labels, exclude_self)
        advance(len(part_labels))  # a single program
    return summary(per_query, names, labels)


def summary(
    per_query: Float64[np.ndarray, " items"], names: np.ndarray, labels: np.ndarray
) -> RetrievalResult:
    """The means of AP over queries.

    Raises:
      JaxpartError: No query has a positive.
    """
    counted = ~np.isnan(per_query)
    if not counted.any():
        raise JaxpartError("no part has more than one item; there is nothing to retrieve")
    per_part = {
        name: float(per_query[queries].mean())
        for i, name in enumerate(names.tolist())
        if (queries := counted & (labels == i)).any()
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

    The rows are sharded, both as queries and as keys; keys are passed around a ring of devices, so that
    none holds them all. Counts are exact; precisions are averaged in float32 (error below 1e-6).
    """
    arrays, options = placed(features, labels, exclude_self=exclude_self)
    scores = ring_queries(*arrays, **options)
    return np.asarray(devices.fetch(scores), np.float64)[: len(labels)]


def placed(
    features: Rows, labels: Int[np.ndarray, " items"], *, exclude_self: bool
) -> tuple[tuple[Array, Array], dict[str, Any]]:
    """The arguments of `ring_queries`: arrays on the devices, and options."""
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
    """AP of every query, sharded like the rows; see `placed`."""

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
        queries = jnp.arange(blocks * block) % len(rows)  # the last block wraps around
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

    Each row is sorted once, as 32-bit integers: the cosine mapped to a decreasing integer, with the lowest
    bit marking positives. Sorting floats with a payload takes longer.
    """
    index = jnp.arange(len(labels))
    valid = jnp.broadcast_to(index < items, similarities.shape)
    if exclude_self:
        valid &= queries[:, None] != index
    positives = valid & (labels[queries][:, None] == labels)
    similarities = jnp.where(similarities == 0, 0.0, similarities)  # -0.0 ties with 0.0
    bits = jax.lax.bitcast_convert_type(similarities, jnp.int32)
    bits = ~(bits ^ (bits >> 31 & np.int32(2**31 - 1)))
    # Between -2 and 2 the two highest bits are equal, so one can be dropped. Invalid items come last.
    keys = jnp.where(valid, bits << 1 | positives, np.int32(2**31 - 2))
    keys = jax.lax.sort(keys, is_stable=False)
    hits = jnp.cumsum(keys & 1, axis=1)
    similarity = keys >> 1
    ends_tie = jnp.diff(similarity, axis=1, append=similarity[:, -1:] + 1) != 0
    # All positives of a tie take the precision at its end.
    before = jax.lax.cummax(jnp.where(ends_tie, hits, 0), axis=1)
    in_tie = hits - jnp.pad(before[:, :-1], ((0, 0), (1, 0)))
    precision = hits / (index + 1)
    return jnp.where(ends_tie, in_tie * precision, 0).sum(axis=1) / hits[:, -1]
