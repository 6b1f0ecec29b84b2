"""MoCo v3: contrast of two views with a moving average (facebookresearch/moco-v3, `moco/builder.py`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def info_nce(
    queries: Float[Array, "batch out"], keys: Float[Array, "batch out"], temperature: float
) -> Float[Array, ""]:
    """2 τ times the cross entropy of each query among all keys of the batch."""
    q, k = (
        x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (queries, keys)
    )
    likelihood = jax.nn.log_softmax(q @ k.T / temperature)
    return -2 * temperature * jnp.diagonal(likelihood).mean()


def mocov3_loss(
    predictions: Float[Array, "2 batch out"],
    keys: Float[Array, "2 batch out"],
    temperature: float = 0.2,
) -> Float[Array, ""]:
    """Each view's prediction against the other view's keys, both ways.

    Args:
      predictions: Of the encoder, after the predictor, for the first and the second view.
      keys: Projections of the moving average.
      temperature: τ.
    """
    keys = jax.lax.stop_gradient(keys)
    return info_nce(predictions[0], keys[1], temperature) + info_nce(
        predictions[1], keys[0], temperature
    )
