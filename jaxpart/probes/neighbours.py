"""Weighted k nearest neighbours by cosine similarity: a training-free reference."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxpart.metrics.similarities import unit_rows

_BLOCK_VALUES = 16 << 20
"""Similarities held at once."""

_NEIGHBOURS, _TEMPERATURE = 20, 0.07


def nearest_neighbours(
    train: Float[np.ndarray, "train channel"],
    labels: Int[np.ndarray, " train"],
    test: Float[np.ndarray, "test channel"],
    *,
    advance: Callable[[int], None] = lambda count: None,
) -> Int[np.ndarray, " test"]:
    """Classes of test items by vote of their nearest training items, searched exactly, in blocks.

    A neighbour's vote weighs exp(similarity / 0.07), and 20 vote, as DINO's k-NN evaluation reports; all
    vote if there are fewer.
    """
    block = max(1, min(len(test), _BLOCK_VALUES // len(train)))
    rows, classes = jnp.asarray(unit_rows(train)), jnp.asarray(labels, jnp.int32)
    queries = unit_rows(test)
    queries = np.concatenate([queries, np.zeros((-len(test) % block, test.shape[1]), np.float32)])
    predictions = []
    for start in range(0, len(queries), block):
        classified = _vote(
            rows,
            classes,
            queries[start : start + block],
            k=min(_NEIGHBOURS, len(train)),
            count=int(labels.max()) + 1,
        )
        predictions.append(np.asarray(classified))
        advance(min(block, len(test) - start))
    return np.concatenate(predictions)[: len(test)]


@functools.partial(jax.jit, static_argnames=("k", "count"))
def _vote(
    rows: Float[Array, "train channel"],
    labels: Int[Array, " train"],
    queries: Float[Array, "block channel"],
    *,
    k: int,
    count: int,
) -> Int[Array, " block"]:
    similarities = jnp.matmul(queries, rows.T, precision=jax.lax.Precision.HIGHEST)
    nearest, index = jax.lax.top_k(similarities, k)
    weights = jnp.exp((nearest - 1) / _TEMPERATURE)
    votes = jax.vmap(lambda w, c: jnp.zeros(count).at[c].add(w))(weights, labels[index])
    return votes.argmax(axis=1)
