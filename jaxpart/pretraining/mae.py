"""MAE: pixels of hidden patches from the visible ones (facebookresearch/mae, `models_mae.py`)."""

from __future__ import annotations

import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

_EPSILON = 1e-6


def patches_of(
    images: Float[Array, "batch height width 3"], side: int
) -> Float[Array, "batch patch pixel"]:
    """The pixels of each patch, row by row, channels last."""
    return rearrange(images, "b (r p) (c q) rgb -> b (r c) (p q rgb)", p=side, q=side)


def mae_loss(
    prediction: Float[Array, "batch patch pixel"],
    target: Float[Array, "batch patch pixel"],
    mask: Float[Array, "batch patch"],
    *,
    normalized: bool,
) -> Float[Array, ""]:
    """Mean squared error over the hidden patches.

    Args:
      prediction: What the decoder gives.
      target: Pixels of each patch.
      mask: 1 or True where hidden.
      normalized: Whether each target patch is brought to mean 0 and (unbiased) variance 1.
    """
    if normalized:
        mean = target.mean(axis=-1, keepdims=True)
        variance = target.var(axis=-1, keepdims=True, ddof=1)
        target = (target - mean) / jnp.sqrt(variance + _EPSILON)
    each = ((prediction - target) ** 2).mean(axis=-1)
    hidden = mask.astype(each.dtype)
    return (each * hidden).sum() / hidden.sum()
