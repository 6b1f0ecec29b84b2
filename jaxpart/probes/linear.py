"""The linear probe: one linear layer on one feature per image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxpart.probes.normalization import BatchNorm


class LinearHead(nnx.Module):
    """One linear layer, optionally after a BatchNorm, as in MAE's and CAE's ImageNet probes.

    Attributes:
      norm: The BatchNorm, with the epsilon 1e-6 of both (`main_linprobe.py`, `run_linear.py`), or None.
      kernel: [channels, classes], normal with standard deviation 0.01.
      bias: [classes], zero.
    """

    def __init__(
        self, channels: int, classes: int, *, batch_norm: bool = False, rngs: nnx.Rngs
    ) -> None:
        """Makes a fresh head."""
        self.norm = BatchNorm(channels, epsilon=1e-6) if batch_norm else None
        self.kernel = nnx.Param(0.01 * jax.random.normal(rngs.params(), (channels, classes)))
        self.bias = nnx.Param(jnp.zeros(classes))

    def __call__(
        self,
        features: Float[Array, "batch channel"],
        *,
        statistics: str,
        valid: Bool[Array, " batch"] | None = None,
    ) -> Float[Array, "batch class"]:
        """Logits."""
        if self.norm is not None:
            features = self.norm(features, statistics=statistics, valid=valid)
        product = jnp.matmul(features, self.kernel[...], precision=jax.lax.Precision.HIGHEST)
        return product + self.bias[...]
