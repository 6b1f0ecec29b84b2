"""Segmentation without training: a patch is labelled by its nearest labelled patches.

As in Hummingbird (Balažević et al., NeurIPS 2023, "Towards in-context scene understanding"): the
memory holds the features of training patches and their label shares; a query attends to its
nearest neighbours by cosine similarity, and the softmax of the similarities weights their labels.
The result is a map of class shares at feature resolution, which the sliding-window test treats like
the logits of a head. The search is exact, and in blocks: both memory and queries may be large, since
their product is never held in full.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from jaxpart.errors import JaxpartError
from jaxpart.labels import IGNORE
from jaxpart.probes.upsampling import PRECISION

_BLOCK_ELEMENTS = 8_000_000
"""Similarities per block: 32 MB."""


class Memory(NamedTuple):
    """Labelled patches; a pytree.

    Attributes:
      keys: Features, each of length 1.
      values: Share of every class among the labelled pixels of the patch; rows sum to 1.
    """

    keys: Float32[Array, "patch width"]
    values: Float32[Array, "patch classes"]


@functools.partial(jax.jit, static_argnames=("grid", "classes"))
def patch_shares(
    labels: Int[Array, "batch rows columns"], grid: tuple[int, int], classes: int
) -> Float32[Array, "batch height width classes"]:
    """Class shares of the pixels of every patch.

    Args:
      labels: 0 … classes − 1 or 255; their size is a multiple of the grid.
      grid: Patches per column and per row, (height, width).
      classes: Number of classes.

    Returns:
      Share of every class among the labelled pixels of a patch; all 0 where none is labelled.
    """
    batch, rows, columns = labels.shape
    height, width = grid
    patch = jnp.arange(batch * height * width).reshape(batch, height, width)
    patch = patch.repeat(rows // height, 1).repeat(columns // width, 2)
    counted = (labels >= 0) & (labels < classes) & (labels != IGNORE)
    index = jnp.where(counted, labels.astype(jnp.int32), classes)
    counts = jnp.zeros((batch * height * width, classes + 1)).at[patch, index].add(1)[:, :-1]
    shares = counts / jnp.maximum(counts.sum(-1, keepdims=True), 1)
    return shares.reshape(batch, height, width, classes)


def make_memory(
    features: Float[Any, "*patches width"], shares: Float[Any, "*patches classes"]
) -> Memory:
    """Keeps the patches that have a labelled pixel.

    The features are neither centred nor normalised; the shares are from `patch_shares`.

    Raises:
      JaxpartError: If no patch has a labelled pixel.
    """
    values = np.asarray(shares, np.float32).reshape(-1, shares.shape[-1])
    labelled = values.any(-1)
    if not labelled.any():
        raise JaxpartError(
            "no patch has a labelled pixel, so there is nothing to compare with; check the labels "
            f"of the training images (all are {IGNORE})"
        )
    keys = np.asarray(features, np.float32).reshape(-1, features.shape[-1])[labelled]
    return Memory(_unit(jnp.asarray(keys)), jnp.asarray(values[labelled]))


@functools.partial(jax.jit, static_argnames=("neighbours", "temperature", "block"))
def nearest_labels(
    memory: Memory,
    features: Float[Array, "*patches width"],
    *,
    neighbours: int,
    temperature: float,
    block: int | None = None,
) -> Float32[Array, "*patches classes"]:
    """Class shares of patches by attention over their nearest labelled patches.

    Args:
      memory: See `make_memory`.
      features: Features of the query patches, from the same block of the same encoder.
      neighbours: Number of nearest patches to attend to; all if the memory holds fewer.
      temperature: Similarities are divided by it before the softmax; above 0.
      block: Memory patches compared at a time; by default enough for 8 million similarities.

    Returns:
      Shares that sum to 1 for every patch. Ties go to the patches first in memory.
    """
    *patches, width = features.shape
    queries = _unit(features.astype(jnp.float32).reshape(-1, width))
    if block is None:
        block = max(_BLOCK_ELEMENTS // len(queries), neighbours)
    similarity, index = nearest(memory.keys, queries, neighbours=neighbours, block=block)
    weights = jax.nn.softmax(similarity / temperature)

    # One neighbour at a time: all their values at once would be neighbours times the result.
    def attend(summed, neighbour):
        weight, row = neighbour
        return summed + weight[:, None] * memory.values[row], None

    zeros = jnp.zeros((len(queries), memory.values.shape[-1]))
    shares, _ = jax.lax.scan(attend, zeros, (weights.T, index.T))
    return shares.reshape(*patches, -1)


def nearest(
    keys: Float32[Array, "patch width"],
    queries: Float32[Array, "query width"],
    *,
    neighbours: int,
    block: int,
) -> tuple[Float32[Array, "query neighbour"], Int32[Array, "query neighbour"]]:
    """The keys with the largest inner products, exactly, in blocks.

    Returns:
      Inner products, descending, and the keys' indices; ties are in order of index.
    """
    count, width = keys.shape
    neighbours = min(neighbours, count)
    block = min(block, count)
    blocks = -(-count // block)
    padded = jnp.pad(keys, ((0, blocks * block - count), (0, 0))).reshape(blocks, block, width)
    exists: Bool[Array, "blocks block"] = (jnp.arange(blocks * block) < count).reshape(
        blocks, block
    )

    def search(best, part):
        start, block_keys, valid = part
        similarity = jnp.einsum("qd,kd->qk", queries, block_keys, precision=PRECISION)
        similarity = jnp.where(valid, similarity, -jnp.inf)
        # Earlier candidates come first and `top_k` is stable: ties stay in order.
        candidates = jnp.concatenate([best[0], similarity], 1)
        largest, chosen = jax.lax.top_k(candidates, neighbours)
        earlier = jnp.take_along_axis(best[1], jnp.minimum(chosen, neighbours - 1), 1)
        index = jnp.where(chosen < neighbours, earlier, start + chosen - neighbours)
        return (largest, index), None

    shape = (len(queries), neighbours)
    initial = (jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32))
    starts = jnp.arange(blocks, dtype=jnp.int32) * block
    best, _ = jax.lax.scan(search, initial, (starts, padded, exists))
    return best


def _unit(features: Float32[Array, "patch width"]) -> Float32[Array, "patch width"]:
    """Normalises features to length 1; zero vectors stay 0."""
    length = jnp.linalg.norm(features, axis=-1, keepdims=True)
    return features / jnp.where(length == 0, 1, length)
