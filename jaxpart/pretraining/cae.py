"""CAE: hidden patches regressed in representation space (Atten4Vis/CAE, `models/modeling_cae.py`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

ALIGNMENT_WEIGHT = 2.0


def cae_losses(
    logits: Float[Array, "*hidden tokens"],
    labels: Int[Array, "*hidden"],
    predicted: Float[Array, "batch hidden width"],
    target: Float[Array, "batch hidden width"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Cross entropy to the token targets, and the weighted alignment of representations.

    Args:
      logits: The decoder's, of the hidden patches.
      labels: Their tokens.
      predicted: The regressor's representations of the hidden patches.
      target: The encoder's, which saw the hidden patches alone.

    Returns:
      (token loss, alignment loss); the objective is their sum.
    """
    likelihood = jax.nn.log_softmax(logits)
    tokens = -jnp.take_along_axis(likelihood, labels[..., None], axis=-1).mean()
    alignment = ((predicted - jax.lax.stop_gradient(target)) ** 2).mean()
    return tokens, ALIGNMENT_WEIGHT * alignment
