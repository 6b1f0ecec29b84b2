"""Transformer blocks: attention and MLP, each with its norm and its residual branch."""

from __future__ import annotations

import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.attention import Attention, RelativeBias
from jaxpart.encoders.layers import activation, make_norm
from jaxpart.encoders.rotary import Turn


class Mlp(nnx.Module):
    """Two linear layers with an activation between them, gated or not.

    Attributes:
      fc1: The first layer; if gated, its kernel is [width, 2, hidden], for gate and value.
    """

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates the layers."""
        self.activation, self.gated = config.activation, config.gated_mlp
        hidden = config.mlp_width
        inner = (2, hidden) if config.gated_mlp else hidden
        self.fc1 = nnx.LinearGeneral(config.width, inner, use_bias=config.biases, rngs=rngs)
        self.has_norm = config.mlp_norm
        if self.has_norm:
            self.norm = make_norm(config.norm, hidden, config.norm_epsilon, rngs)
        self.fc2 = nnx.Linear(hidden, config.width, use_bias=config.biases, rngs=rngs)

    def __call__(self, tokens: Float[Array, "batch token width"]) -> Array:
        """Applies the MLP to each token."""
        function, hidden = activation(self.activation), self.fc1(tokens)
        if self.gated:
            gate, value = (rearrange(half, "b t 1 h -> b t h") for half in jnp.split(hidden, 2, 2))
            hidden = function(gate) * value
        else:
            hidden = function(hidden)
        return self.fc2(self.norm(hidden) if self.has_norm else hidden)


class Block(nnx.Module):
    """Pre-norm transformer block, optionally with layer scale and a relative bias table of its own."""

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates attention, MLP and their norms."""
        self.norm1 = make_norm(config.norm, config.width, config.norm_epsilon, rngs)
        self.attention = Attention(config, rngs=rngs)
        self.norm2 = make_norm(config.norm, config.width, config.norm_epsilon, rngs)
        self.mlp = Mlp(config, rngs=rngs)
        self.has_layer_scale = config.layer_scale
        if config.layer_scale:
            self.scale1 = nnx.Param(jnp.full(config.width, 0.1))
            self.scale2 = nnx.Param(jnp.full(config.width, 0.1))
        if config.relative_bias == "per_block":
            self.relative_bias = RelativeBias(config)

    def __call__(
        self,
        tokens: Float[Array, "batch token width"],
        bias: Array | None,
        turn: Turn | None = None,
        branches: Float[Array, "2 batch"] | None = None,
    ) -> tuple[Float[Array, "batch token width"], Float[Array, "batch head query key"]]:
        """Returns the block's output and its attention weights; `branches`: see `ViT.transform`."""
        attended, weights = self.attention(self.norm1(tokens), bias, turn)
        if branches is not None:
            attended = attended * branches[0, :, None, None]
        tokens = tokens + (self.scale1[...] * attended if self.has_layer_scale else attended)
        hidden = self.mlp(self.norm2(tokens))
        if branches is not None:
            hidden = hidden * branches[1, :, None, None]
        return tokens + (self.scale2[...] * hidden if self.has_layer_scale else hidden), weights
