"""The linear probe: one linear layer on one feature per image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxpart.probes.normalization import BatchNorm


class LinearHead(nnx.Module):
    """One linear layer, with MAE's BatchNorm before it if asked for (MAE, `main_linprobe.py`).

    Attributes:
      norm: The BatchNorm, or None.
      kernel: [channels, classes], normal with standard deviation 0.01.
      bias: [classes], zero.
    """

    def __init__(
        self, channels: int, classes: int, *, batch_norm: bool = False, rngs: nnx.Rngs
    ) -> None:
        """Makes a fresh head."""
        self.norm = BatchNorm(channels) if batch_norm else None
        self.kernel = nnx.Param(0.01 * jax.random.normal(rngs.params(), (channels, classes)))
        self.bias = nnx.Param(jnp.zeros(classes))

    def __call__(
        self, features: Float[Array, "batch channel"], *, statistics: str
    ) -> Float[Array, "batch class"]:
        """Logits.

        Args:
          features: "cls_token", "embedding" or the like.
          statistics: Of the BatchNorm, see `BatchNorm`; without one it makes no difference.
        """
        if self.norm is not None:
            features = self.norm(features, statistics=statistics)
        product = jnp.matmul(features, self.kernel[...], precision=jax.lax.Precision.HIGHEST)
        return product + self.bias[...]
