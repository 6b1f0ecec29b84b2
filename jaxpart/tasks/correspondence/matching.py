"""Matching of points to the most similar tokens, batched by target image."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32

from jaxpart.tasks.correspondence.places import Sampled, upsampling

_BLOCK = 64
"""Points per block; all points of a block have the same target image, and blocks are padded."""
_BLOCKS = 256
TEMPERATURE = 0.02
"""Temperature of the window soft-argmax."""

_EXACT = jax.lax.Precision.HIGHEST


def match(
    tokens: Float[np.ndarray | Array, "image cell channel"],
    source: Int[np.ndarray, " point"],
    at: Sampled,
    target: Int[np.ndarray, " point"],
    *,
    window: int | None = None,
) -> Float32[np.ndarray, "point 2"]:
    """Matches each point's feature to the target image by cosine similarity.

    Ties go to the first token in row-major order.

    Args:
      tokens: Tokens of square grids.
      source: The image of each point.
      at: The tokens, normalised to length 1, and weights that make up each point's feature.
      target: The image to match each point in.
      window: None: the most similar token. Otherwise the expected position under a softmax of temperature
        0.02 over all tokens, where similarities more than `window` cells (along either axis) from the best
        one are set to 0; 0: no window. As published (GeoAware-SC), tokens outside the window keep their
        softmax weight.

    Returns:
      Column and row from 0; integers without `window`.
    """
    count = len(source)
    if not count:
        return np.zeros((0, 2), np.float32)
    blocks = _blocks(target)
    slots = np.where(blocks < 0, 0, blocks)
    on_device = jnp.asarray(tokens, jnp.float32)
    scale = _scale(on_device)
    matches = np.empty((count, 2), np.float32)
    length = min(_BLOCKS, 1 << (len(slots) - 1).bit_length())
    for start in range(0, len(slots), length):
        batch = slots[start : start + length]
        batch = np.concatenate([batch, np.repeat(batch[:1], length - len(batch), axis=0)])
        out = np.asarray(
            _match(
                on_device,
                scale,
                np.asarray(source, np.int32)[batch],
                at.cells[batch],
                at.weights[batch],
                np.asarray(target, np.int32)[batch[:, 0]],
                window=window,
            )
        )
        valid = blocks[start : start + length] >= 0
        matches[blocks[start : start + length][valid]] = out[: len(valid)][valid]
    return matches


def _blocks(target: Int[np.ndarray, " point"]) -> Int[np.ndarray, "block slot"]:
    """Indices of the points, grouped by target image; -1 for padding."""
    order = np.argsort(target, kind="stable")
    _, starts = np.unique(target[order], return_index=True)
    rows = []
    for group in np.split(order, starts[1:]):
        padded = np.full(-(-len(group) // _BLOCK) * _BLOCK, -1)
        padded[: len(group)] = group
        # The first slot of a block is never padding.
        rows.append(padded.reshape(-1, _BLOCK))
    return np.concatenate(rows)


@functools.partial(jax.jit, static_argnames="window")
def _match(
    tokens: Float32[Array, "image cell channel"],
    scale: Float32[Array, "image cell"],
    source: Int32[Array, "block slot"],
    cells: Int32[Array, "block slot tokens"],
    weights: Float32[Array, "block slot tokens"],
    target: Int32[Array, " block"],
    *,
    window: int | None,
) -> Float32[Array, "block slot 2"]:
    def match_block(args: tuple[Array, Array, Array, Array]) -> Array:
        source, cells, weights, target = args
        source = source[:, None]
        weights = weights * scale[source, cells]
        query = jnp.einsum("pkc,pk->pc", tokens[source, cells], weights, precision=_EXACT)
        if weights.shape[1] > 1:  # otherwise its length is already 1
            query *= _scale(query)[:, None]
        similarity = jnp.matmul(query, tokens[target].T, precision=_EXACT) * scale[target]
        return _positions(similarity, window)

    return jax.lax.map(match_block, (source, cells, weights, target))


@jax.jit
def _scale(vectors: Float32[Array, "*row channel"]) -> Float32[Array, "*row"]:
    """The inverse norms; scaling products is cheaper than normalising a copy of all tokens."""
    return 1 / jnp.maximum(jnp.linalg.norm(vectors, axis=-1), 1e-10)


def _positions(
    similarity: Float32[Array, "point cell"], window: int | None
) -> Float32[Array, "point 2"]:
    grid = round(similarity.shape[1] ** 0.5)
    best = jnp.argmax(similarity, axis=1)
    column, row = best % grid, best // grid
    if window is None:
        return jnp.stack([column, row], axis=1).astype(jnp.float32)
    cell = jnp.arange(grid)
    if window:
        near = [jnp.abs(cell - index[:, None]) <= window for index in (row, column)]
        inside = near[0][:, :, None] & near[1][:, None, :]
        similarity = similarity * inside.reshape(similarity.shape)
    weight = jax.nn.softmax(similarity / TEMPERATURE, axis=1).reshape(-1, grid, grid)
    position = [weight.sum(axis=1) @ cell, weight.sum(axis=2) @ cell]
    return jnp.clip(jnp.stack(position, axis=1), 0, grid - 1)


def match_pixels(
    tokens: Float[np.ndarray, "image cell channel"],
    source: Int[np.ndarray, " point"],
    at: Sampled,
    target: Int[np.ndarray, " point"],
    sizes: Int[np.ndarray, "image 2"],
    *,
    normalised: bool = False,
) -> Int[np.ndarray, "point 2"]:
    """Like `match`, but finds the best pixel of bilinearly upsampled target tokens.

    Near the borders upsampled tokens are constant, so many pixels there differ by rounding errors only.

    `sizes` are (width, height) to upsample each image's tokens to; with `normalised`, tokens are
    normalised before upsampling instead of pixels after it.
    """
    tokens = np.asarray(tokens, np.float32)
    if normalised:
        tokens = tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-10)
    grid = round(tokens.shape[1] ** 0.5)
    query = np.einsum("pkc,pk->pc", tokens[source[:, None], at.cells], at.weights)
    matches = np.empty((len(source), 2), np.int64)
    for image in np.unique(target):
        points = np.flatnonzero(target == image)
        width, height = (int(v) for v in sizes[image])
        columns, rows = upsampling(grid, width), upsampling(grid, height)
        field = tokens[image].reshape(grid, grid, -1)
        product = (query[points] @ tokens[image].T).reshape(-1, grid, grid)
        similarity = rows @ product @ columns.T
        if not normalised:
            across = (columns @ np.tensordot(row, field, 1) for row in rows)
            length = np.stack([np.linalg.norm(row, axis=1) for row in across])
            similarity /= np.maximum(length, 1e-10)
        best = similarity.reshape(len(points), -1).argmax(axis=1)
        matches[points] = np.stack([best % width, best // width], axis=1)
    return matches
