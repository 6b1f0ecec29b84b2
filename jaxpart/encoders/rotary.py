"""Rotary positions: the patches' queries and keys are rotated by angles that depend on position."""

from __future__ import annotations

import functools
from typing import Literal

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jaxtyping import Array, Float

from jaxpart.encoders.positions import Grid

RotaryRule = Literal["none", "dinov3", "dinov3_bfloat16", "eva02"]
"""How rotary positions follow from a patch's row and column; each rotates half of a head's channels.

- dinov3: coordinates from −1 to 1 across the image, whatever its grid; periods 100^(4i / head channels),
  angle 2π coordinate / period; channel i pairs with channel i + half (`rope_position_encoding.py`).
- dinov3_bfloat16: the same with periods rounded to bfloat16, as the released checkpoints hold them.
- eva02: coordinates from 0 to 16 across the image (it was pretrained with 16 × 16 patches), angle
  coordinate · 10000^(−4i / head channels); channel 2i pairs with channel 2i + 1 (EVA-02, `rope.py`).
"""

_EVA02_GRID = 16
Turn = tuple[Float[np.ndarray, "token half"], Float[np.ndarray, "token half"]]
"""Cosine and sine by token and pair of channels."""


def dinov3_periods(channels: int, *, rounded: bool = False) -> Float[np.ndarray, " quarter"]:
    """DINOv3's periods for a number of channels per head, in float32; rounded: to bfloat16, as released."""
    exponents = np.arange(channels // 4, dtype=np.float32) / np.float32(channels // 4)
    periods = (np.float32(100.0) ** exponents).astype(np.float32)
    return periods.astype(ml_dtypes.bfloat16).astype(np.float32) if rounded else periods


@functools.cache
def rotary_turn(rule: RotaryRule, grid: Grid, prefix: int, channels: int) -> Turn:
    """Rotation of every token's channels; prefix tokens are not rotated.

    Args:
      rule: See `RotaryRule`; not "none".
      grid: Patches along (height, width).
      prefix: Number of tokens before the patches.
      channels: Channels of a head, a multiple of 4.
    """
    rows, columns = grid
    if rule == "eva02":
        frequencies = 10000.0 ** -(np.arange(channels // 4) / (channels // 4))
        row, column = (np.arange(n) / n * _EVA02_GRID for n in grid)
    else:
        periods = dinov3_periods(channels, rounded=rule == "dinov3_bfloat16")
        frequencies = 2 * np.pi / periods.astype(np.float64)
        row, column = (2 * (np.arange(n) + 0.5) / n - 1 for n in grid)
    coordinates = np.stack(np.meshgrid(row, column, indexing="ij"), axis=-1)
    angles = (coordinates[..., None] * frequencies).reshape(rows * columns, channels // 2)
    angles = np.concatenate([np.zeros((prefix, channels // 2)), angles])
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def turned(
    heads: Float[Array, "batch head token channel"], turn: Turn, rule: RotaryRule
) -> Float[Array, "batch head token channel"]:
    """Queries or keys with each pair of channels rotated."""
    cos, sin = map(jnp.asarray, turn)
    if rule == "eva02":
        x, y = heads[..., ::2], heads[..., 1::2]
        return jnp.stack([x * cos - y * sin, y * cos + x * sin], axis=-1).reshape(heads.shape)
    x, y = jnp.split(heads, 2, axis=-1)
    return jnp.concatenate([x * cos - y * sin, y * cos + x * sin], axis=-1)
