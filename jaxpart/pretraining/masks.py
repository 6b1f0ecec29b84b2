"""Masks over patches, drawn on the device: True is hidden."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxpart.encoders.positions import Grid

_ATTEMPTS = 10
"""Consecutive failures to fit a block, after which BEiT's generator gives up."""
_BLOCKS = 60
"""Attempts in total; the original has no limit, but needs fewer."""


def random_mask(
    key: Array, shape: tuple[int, int], hidden: int | Int[Array, " batch"]
) -> Bool[Array, "batch patch"]:
    """Hides exactly `hidden` patches of each image, all subsets being equally likely."""
    rank = jnp.argsort(jnp.argsort(jax.random.uniform(key, shape), axis=1), axis=1)
    return rank < jnp.broadcast_to(jnp.asarray(hidden), shape[:1])[:, None]


def block_mask(
    key: Array,
    images: int,
    grid: Grid,
    hidden: int | Int[Array, " images"],
    *,
    smallest: int,
    exact: bool,
) -> Bool[Array, "images patch"]:
    """Hides rectangles until `hidden` patches are hidden (BEiT, `masking_generator.py`).

    Each rectangle has an area from [smallest, number still to hide] and an aspect ratio from 0.3 to
    1 / 0.3, log-uniform; it is kept if it lies inside the grid and hides some new patches, but not too
    many.

    Args:
      key: Random key.
      images: Number of masks.
      grid: Patches along (height, width).
      hidden: Maximum number of hidden patches, one for all images or one per image.
      smallest: Smallest area of a block in patches (BEiT 16, CAE 4, iBOT a third of the side squared).
      exact: Whether single patches make up the exact number, as encoders of visible tokens need (CAE);
        otherwise fewer may be hidden (BEiT).
    """
    counts = jnp.broadcast_to(jnp.asarray(hidden), (images,))
    draw = functools.partial(_one_block_mask, grid=grid, smallest=smallest, exact=exact)
    return jax.vmap(draw)(jax.random.split(key, images), counts)


def _one_block_mask(
    key: Array, hidden: Array, *, grid: Grid, smallest: int, exact: bool
) -> Bool[Array, " patch"]:
    rows, columns = grid
    row, column = jnp.arange(rows)[:, None], jnp.arange(columns)[None, :]
    key, fill_key = jax.random.split(key)
    uniform = jax.random.uniform(key, (_BLOCKS, 4))

    def attempt(carry: tuple[Array, Array], u: Array) -> tuple[tuple[Array, Array], None]:
        mask, failures = carry
        remaining = hidden - mask.sum()
        area = smallest + u[0] * (remaining - smallest)  # like random.uniform, in either order
        ratio = jnp.exp(math.log(0.3) * (2 * u[1] - 1))
        height = jnp.round(jnp.sqrt(area * ratio)).astype(int)
        width = jnp.round(jnp.sqrt(area / ratio)).astype(int)
        top = jnp.floor(u[2] * (rows - height + 1)).astype(int)
        left = jnp.floor(u[3] * (columns - width + 1)).astype(int)
        block = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
        new = (block & ~mask).sum()
        fits = (height < rows) & (width < columns) & (new > 0) & (new <= remaining)
        fits &= failures < _ATTEMPTS
        return (jnp.where(fits, mask | block, mask), jnp.where(fits, 0, failures + 1)), None

    start = jnp.zeros(grid, bool), jnp.zeros((), int)
    (mask, _), _ = jax.lax.scan(attempt, start, uniform)
    mask = mask.reshape(-1)
    if exact:
        order = jnp.argsort(jax.random.uniform(fill_key, mask.shape) - mask)  # hidden ones first
        mask = jnp.argsort(order) < hidden
    return mask


def split(
    mask: Bool[Array, "batch patch"], hidden: int
) -> tuple[Int[Array, "batch visible"], Int[Array, "batch hidden"]]:
    """Indices of the visible and of the hidden patches, each in patch order.

    Exactly `hidden` of each row are True; the number is static under jit.
    """
    order = jnp.argsort(mask, axis=1, stable=True)
    visible = mask.shape[1] - hidden
    return order[:, :visible], order[:, visible:]


def take(tokens: Float[Array, "batch token width"], index: Int[Array, "batch some"]) -> Array:
    """The tokens at the given indices of each image."""
    return jnp.take_along_axis(tokens, index[..., None], axis=1)
