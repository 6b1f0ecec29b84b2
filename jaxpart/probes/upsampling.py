"""PyTorch's bilinear resize, as one small constant matrix per axis.

`F.interpolate(x, size, mode="bilinear", align_corners=False)` is linear and separable, so its
result is `rows @ x @ columns.T` for matrices that depend only on the two sizes. The pixel loss
and the sliding-window test build on these matrices, not on full-size arrays.
"""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float32

PRECISION = jax.lax.Precision.HIGHEST
"""Precision of every product in the probes: accelerators round float32 factors by default."""


def interpolation_weights(source: int, target: int) -> Float32[np.ndarray, "target source"]:
    """The matrix of PyTorch's bilinear resize along one axis, align_corners false.

    Returns:
      Rows that sum to 1 with at most two neighbouring entries other than 0; the identity if
      the lengths are equal. Positions are computed in float32, as PyTorch does.
    """
    scale = np.float32(source) / np.float32(target)
    half = np.float32(0.5)
    position = np.maximum(scale * (np.arange(target, dtype=np.float32) + half) - half, 0)
    low = np.minimum(position.astype(np.int64), source - 1)
    high = np.minimum(low + 1, source - 1)
    fraction = position - low.astype(np.float32)
    weights = np.zeros((target, source), np.float32)
    rows = np.arange(target)
    np.add.at(weights, (rows, low), 1 - fraction)
    np.add.at(weights, (rows, high), fraction)
    return weights
