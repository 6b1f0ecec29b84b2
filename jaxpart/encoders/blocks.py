"""Transformer blocks: attention and MLP, each with its norm and its residual branch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.attention import Attention, RelativeBias

NORM_EPSILON = 1e-6
"""Of every LayerNorm in every method's own code."""


def layer_norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    """A LayerNorm over the channels of a token."""
    # Flax's fast variance, E[x²] − E[x]², cancels where the mean is large.
    return nnx.LayerNorm(width, epsilon=NORM_EPSILON, use_fast_variance=False, rngs=rngs)


class Mlp(nnx.Module):
    """Two linear layers with the exact (erf) GELU between them."""

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates the layers."""
        self.fc1 = nnx.Linear(config.width, config.mlp_width, rngs=rngs)
        self.fc2 = nnx.Linear(config.mlp_width, config.width, rngs=rngs)

    def __call__(self, tokens: Float[Array, "batch token width"]) -> Array:
        """Applies the MLP to each token."""
        return self.fc2(jax.nn.gelu(self.fc1(tokens), approximate=False))


class Block(nnx.Module):
    """Pre-norm transformer block, optionally with layer scale and a relative bias table of its own."""

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates attention, MLP and their norms."""
        self.norm1 = layer_norm(config.width, rngs)
        self.attention = Attention(config, rngs=rngs)
        self.norm2 = layer_norm(config.width, rngs)
        self.mlp = Mlp(config, rngs=rngs)
        self.has_layer_scale = config.layer_scale
        if config.layer_scale:
            self.scale1 = nnx.Param(jnp.full(config.width, 0.1))
            self.scale2 = nnx.Param(jnp.full(config.width, 0.1))
        if config.relative_bias == "per_block":
            self.relative_bias = RelativeBias(config)

    def __call__(
        self, tokens: Float[Array, "batch token width"], bias: Array | None
    ) -> tuple[Float[Array, "batch token width"], Float[Array, "batch head query key"]]:
        """Returns the block's output and its attention weights."""
        attended, weights = self.attention(self.norm1(tokens), bias)
        tokens = tokens + (self.scale1[...] * attended if self.has_layer_scale else attended)
        hidden = self.mlp(self.norm2(tokens))
        return tokens + (self.scale2[...] * hidden if self.has_layer_scale else hidden), weights
