"""Position embeddings and relative position biases, at the stored grid and at any other.

Every family has its own rule for grids other than its training grid. Each rule is linear in the stored
values: along an axis it is a [target, source] matrix that depends only on the sizes. The matrices are
computed on the host in float64; applying them takes two small matrix products, inside or outside jit.
"""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.interpolate import InterpolatedUnivariateSpline

Grid = tuple[int, int]
"""Patches along (height, width)."""

PositionResize = Literal[
    "bicubic", "bicubic_offset", "bicubic_antialias", "bilinear_antialias", "sincos_wh"
]
"""How absolute positions adapt to another grid.

- bicubic: PyTorch's bicubic to the new size, as DeiT (`deit/main.py`) and MAE
  (`util/pos_embed.py`) do when they load a checkpoint.
- bicubic_offset: the same with scale factor (target + 0.1) / source, as DINO and iBOT
  (`vision_transformer.py`, `interpolate_pos_encoding`) do in the forward pass.
- bicubic_antialias: PyTorch's antialiased bicubic, with another kernel (a = -0.5) even when it enlarges,
  as DINOv2 with registers (`vision_transformer.py`) and timm do.
- bilinear_antialias: PyTorch's antialiased bilinear, as SigLIP 2's NaFlex.
- sincos_wh: recomputed by the formula of MoCo v3 (`vits.py`) and CAE.
"""


def _matrix_product(rows: np.ndarray, grid: Array, columns: np.ndarray) -> Array:
    """Resamples [height, width, channels] by one matrix per axis, at full float32 precision."""
    return jnp.einsum(
        "ih,hwc,jw->ijc",
        jnp.asarray(rows, jnp.float32),
        grid,
        jnp.asarray(columns, jnp.float32),
        precision=jax.lax.Precision.HIGHEST,
    )


@functools.cache
def bicubic_matrix(
    source: int, target: int, offset: float = 0.0
) -> Float[np.ndarray, "target source"]:
    """PyTorch's bicubic interpolation (a = -0.75, half-pixel centres, replicated border).

    Args:
      source: Length of the stored axis.
      target: New length.
      offset: Added to `target` in the scale factor, not in the length (DINO: 0.1).
    """
    scale = (target + offset) / source
    position = (np.arange(target) + 0.5) / scale - 0.5
    floor = np.floor(position).astype(int)
    matrix = np.zeros((target, source))
    a = -0.75
    for tap in range(-1, 3):
        u = np.abs(position - floor - tap)
        inner = ((a + 2) * u - (a + 3)) * u * u + 1
        outer = ((a * u - 5 * a) * u + 8 * a) * u - 4 * a
        weight = np.where(u <= 1, inner, outer)
        np.add.at(matrix, (np.arange(target), np.clip(floor + tap, 0, source - 1)), weight)
    return matrix


@functools.cache
def antialias_matrix(
    source: int, target: int, kernel: Literal["bicubic", "bilinear"]
) -> Float[np.ndarray, "target source"]:
    """PyTorch's antialiased interpolation, which is Pillow's: kernels widen when it shrinks.

    Args:
      source: Length of the stored axis.
      target: New length.
      kernel: Cubic (a = -0.5) or triangle; weights beyond the border are redistributed.
    """
    scale = max(source / target, 1.0)
    centre = (np.arange(target) + 0.5) * source / target
    u = np.abs(np.arange(source) + 0.5 - centre[:, None]) / scale
    if kernel == "bilinear":
        matrix = np.maximum(1 - u, 0)
    else:
        inner, outer = (1.5 * u - 2.5) * u * u + 1, ((-0.5 * u + 2.5) * u - 4) * u + 2
        matrix = np.where(u < 1, inner, np.where(u < 2, outer, 0))
    return matrix / matrix.sum(axis=1, keepdims=True)


@functools.cache
def geometric_matrix(source: int, target: int) -> Float[np.ndarray, "target source"]:
    """BEiT's interpolation of relative position biases along one axis of offsets.

    Source offsets are laid out at ±1, ±(1 + q), ±(1 + q + q²)…, with q from [1.01, 1.5] such that
    they span the target window, and a cubic spline through them is evaluated at the integer target
    offsets (original: BEiT `run_class_finetuning.py`, scipy's interp2d). Beyond the outermost source
    offset, which q's bounds permit, the spline's last value is repeated, as in FITPACK.

    Args:
      source: Number of stored offsets, 2 · grid − 1.
      target: New number, 2 · grid − 1.
    """
    if source == target:
        return np.eye(source)
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        if (1 - q ** (source // 2)) / (1 - q) > target // 2:
            high = q
        else:
            low = q
    distances = np.cumsum(q ** np.arange(source // 2))
    offsets = np.concatenate([-distances[::-1], [0.0], distances])
    targets = np.arange(-(target // 2), target // 2 + 1)
    # A spline is linear in its values, so interpolating the unit vectors gives the matrix.
    degree = min(3, source - 1)
    splines = [
        InterpolatedUnivariateSpline(offsets, unit, k=degree, ext=3) for unit in np.eye(source)
    ]
    return np.stack([spline(targets) for spline in splines], axis=1)


def sincos(width: int, grid: Grid, *, by_column: bool) -> Float[np.ndarray, "patches width"]:
    """Fixed 2-D sin-cos positions: [sin w, cos w, sin h, cos h] at frequencies 10000^(−i / (width/4)).

    Args:
      width: Channels, a multiple of 4.
      grid: Patches along (height, width).
      by_column: Whether entry k is at column k // height, as MoCo v3 (`vits.py`) and CAE lay the
        grid out ("ij" indexing of (w, h)), square or not; otherwise row by row, as MAE
        (`util/pos_embed.py`) does.
    """
    rows, columns = grid
    indexing: Literal["ij", "xy"] = "ij" if by_column else "xy"
    column, row = np.meshgrid(np.arange(columns), np.arange(rows), indexing=indexing)
    frequency = 1.0 / 10000.0 ** (np.arange(width // 4) / (width // 4))
    angle_w = column.reshape(-1, 1) * frequency
    angle_h = row.reshape(-1, 1) * frequency
    parts = [np.sin(angle_w), np.cos(angle_w), np.sin(angle_h), np.cos(angle_h)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def resize_positions(
    positions: Float[Array, "patches width"], source: Grid, target: Grid, rule: PositionResize
) -> Float[Array, "target_patches width"]:
    """Absolute positions of the patches for another grid.

    Args:
      positions: Stored positions of the patches (no prefix tokens), row by row.
      source: Grid of `positions`.
      target: New grid; if equal to `source`, `positions` are returned unchanged.
      rule: See `PositionResize`.
    """
    if source == target:
        return positions
    width = positions.shape[-1]
    if rule == "sincos_wh":
        return jnp.asarray(sincos(width, target, by_column=True))
    lengths = zip(source, target, strict=True)
    if rule == "bicubic_antialias":
        rows, columns = (antialias_matrix(s, t, "bicubic") for s, t in lengths)
    elif rule == "bilinear_antialias":
        rows, columns = (antialias_matrix(s, t, "bilinear") for s, t in lengths)
    else:
        offset = 0.1 if rule == "bicubic_offset" else 0.0
        rows, columns = (bicubic_matrix(s, t, offset) for s, t in lengths)
    grid = positions.reshape(*source, width)
    return _matrix_product(rows, grid, columns).reshape(-1, width)


def resize_relative_bias(
    table: Float[Array, "offsets heads"], source: Grid, target: Grid
) -> Float[Array, "target_offsets heads"]:
    """A BEiT relative position bias table for another grid.

    Args:
      table: (2h − 1)(2w − 1) rows of offsets and three for cls→patch, patch→cls, cls→cls.
      source: Grid (h, w) of `table`.
      target: New grid. Each axis follows BEiT's rule, which is defined only for square grids.
    """
    if source == target:
        return table
    offsets = [2 * size - 1 for size in source]
    heads = table.shape[-1]
    rows, columns = (geometric_matrix(s, 2 * t - 1) for s, t in zip(offsets, target, strict=True))
    resized = _matrix_product(rows, table[:-3].reshape(*offsets, heads), columns)
    return jnp.concatenate([resized.reshape(-1, heads), table[-3:]])


@functools.cache
def relative_bias_index(grid: Grid) -> Int[np.ndarray, "tokens tokens"]:
    """Row of the bias table for every (query, key) pair of [cls, patches] (BEiT `modeling_finetune.py`)."""
    rows, columns = grid
    row, column = (axis.reshape(-1) for axis in np.meshgrid(*map(np.arange, grid), indexing="ij"))
    row_offset = row[:, None] - row[None, :] + rows - 1
    column_offset = column[:, None] - column[None, :] + columns - 1
    count = (2 * rows - 1) * (2 * columns - 1)
    index = np.empty((rows * columns + 1,) * 2, np.int32)
    index[1:, 1:] = row_offset * (2 * columns - 1) + column_offset
    index[0, :], index[:, 0], index[0, 0] = count, count + 1, count + 2
    return index
