"""A baseline without an encoder: an image as the mean colours of 12 × 12 cells."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

PIXELS = "pixels12"
"""The representation's name; see `jaxpart.features.representations.represent`."""

SIDE = 12


def cell_means(images: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch cells_by_3"]:
    """Mean colour of each of 12 × 12 equal cells, row by row, in [0, 1].

    A pixel on the border between cells counts in each by its area.
    """
    rows, columns = (jnp.asarray(_shares(side)) for side in images.shape[1:3])
    means = jnp.einsum(
        "ih,bhwc,jw->bijc",
        rows,
        jnp.asarray(images, jnp.float32) / 255,
        columns,
        precision=jax.lax.Precision.HIGHEST,
    )
    return means.reshape(len(images), -1)


def _shares(side: int) -> Float32[np.ndarray, "cell pixel"]:
    """Each pixel's weight in each cell's mean, along one side."""
    ends = np.arange(SIDE + 1) * side / SIDE
    pixel = np.arange(side)
    overlap = np.minimum(ends[1:, None], pixel + 1) - np.maximum(ends[:-1, None], pixel)
    return (np.maximum(overlap, 0) * SIDE / side).astype(np.float32)


def neighbourhoods(
    cells: Float[np.ndarray, "image cells_by_3"],
) -> Float32[np.ndarray, "image cell 27"]:
    """Stand-ins for tokens without an encoder: the colours of the 3 × 3 cells around each cell.

    Returns:
      Colours minus the image's mean colour; the edge is replicated.
    """
    grid = np.asarray(cells, np.float32).reshape(-1, SIDE, SIDE, 3)
    grid = grid - grid.mean(axis=(1, 2), keepdims=True)
    padded = np.pad(grid, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    shifted = [padded[:, y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(3)]
    return np.concatenate(shifted, axis=-1).reshape(len(grid), SIDE * SIDE, 27)
