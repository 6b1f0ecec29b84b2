"""Exact nearest neighbours by cosine similarity, computed in blocks on the device."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int32

from jaxpart.metrics.similarities import Rows, unit_rows
from jaxpart.probes.incontext import nearest

_QUERIES = 2048
_KEYS = 8192
"""Similarities in memory at once: 64 MB."""

_search = jax.jit(nearest, static_argnames=("neighbours", "block"))


def nearest_patches(
    features: Rows,
    count: int,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Int32[np.ndarray, "patch neighbour"], Float32[np.ndarray, "patch neighbour"]]:
    """The nearest other patches of every patch. Memory is linear in the number of patches.

    Args:
      features: Features, `[patch, channel]`.
      count: Neighbours per patch; if there are fewer patches, all others.
      advance: Called with the number of patches just done.

    Returns:
      The neighbours' numbers and cosine similarities, most similar first; ties by lower number.
    """
    rows = unit_rows(features)
    total = len(rows)
    count = min(count, total - 1)
    keys = jnp.asarray(rows)
    queries = min(_QUERIES, total)
    search = functools.partial(_search, keys, neighbours=count + 1, block=min(_KEYS, total))
    index = np.zeros((total, count), np.int32)
    similarity = np.zeros((total, count), np.float32)
    for begin in range(0, total, queries):
        advance(min(queries, total - begin))
        start = min(begin, total - queries)  # the last block overlaps, so that all have one shape
        matches = jax.device_get(search(rows[start : start + queries]))
        is_self = matches[1] == np.arange(start, start + queries)[:, None]
        # If equally similar patches come before it, drop the last.
        is_self[~is_self.any(axis=1), -1] = True
        index[start : start + queries] = matches[1][~is_self].reshape(queries, count)
        similarity[start : start + queries] = matches[0][~is_self].reshape(queries, count)
    return index, similarity
