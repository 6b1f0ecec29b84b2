"""Self-attention over all tokens of an image, and its relative position bias."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from jaxpart.encoders import positions as position_rules
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.layers import make_norm
from jaxpart.encoders.positions import Grid
from jaxpart.encoders.rotary import Turn, turned


class Attention(nnx.Module):
    """Multi-head self-attention.

    Attributes:
      qkv: One linear layer to q, k and v, each split into heads; kernel [width, 3, heads, channels].
      dot_general: Multiplies queries with keys and weights with values, see `precision`.
      precision: Precision of these products, see there; None is JAX's default.
    """

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates the projections."""
        width, self.num_heads = config.width, config.num_heads
        self.dot_general, self.precision = jax.lax.dot_general, None
        heads = self.num_heads, width // self.num_heads
        self.qkv = nnx.LinearGeneral(
            width, (3, *heads), use_bias=config.qkv_bias == "qkv", rngs=rngs
        )
        self.rotary = config.rotary
        self.has_qv_bias = config.qkv_bias == "qv"
        if self.has_qv_bias:
            self.q_bias = nnx.Param(jnp.zeros(width))
            self.v_bias = nnx.Param(jnp.zeros(width))
        self.has_norm = config.attention_norm
        if self.has_norm:
            self.norm = make_norm(config.norm, width, config.norm_epsilon, rngs)
        self.out = nnx.Linear(width, width, use_bias=config.biases, rngs=rngs)

    def __call__(
        self,
        tokens: Float[Array, "batch token width"],
        bias: Array | None,
        turn: Turn | None = None,
    ) -> tuple[Float[Array, "batch token width"], Float[Array, "batch head query key"]]:
        """Returns the attended tokens and the attention weights."""
        # Split, not indexed, so that the three gradients are concatenated, not summed.
        parts = jnp.split(self.qkv(tokens), 3, axis=2)
        q, k, v = (rearrange(part, "b t 1 h d -> b h t d") for part in parts)
        if self.has_qv_bias:
            biases = self.q_bias[...], self.v_bias[...]
            q_bias, v_bias = (rearrange(b, "(h d) -> h 1 d", h=self.num_heads) for b in biases)
            q, v = q + q_bias, v + v_bias
        if turn is not None:
            q, k = turned(q, turn, self.rotary), turned(k, turn, self.rotary)
        batch_axes = (0, 1), (0, 1)  # image and head
        multiply = functools.partial(self.dot_general, precision=self.precision)
        logits = multiply(q * q.shape[-1] ** -0.5, k, (((3,), (3,)), batch_axes))
        if bias is not None:
            logits = logits + bias
        weights = jax.nn.softmax(logits, axis=-1)
        attended = multiply(weights, v, (((3,), (2,)), batch_axes))
        attended = rearrange(attended, "b h q d -> b q (h d)")
        if self.has_norm:
            attended = self.norm(attended)
        return self.out(attended), weights


class RelativeBias(nnx.Module):
    """A BEiT table of attention biases by the offset from key to query."""

    def __init__(self, config: ViTConfig) -> None:
        """Creates a table for the configured grid, with three rows for cls."""
        rows, columns = self.grid = config.grid
        offsets = (2 * rows - 1) * (2 * columns - 1)
        self.table = nnx.Param(jnp.zeros((offsets + 3, config.num_heads)))

    def __call__(self, grid: Grid) -> Float[Array, "head query key"]:
        """Biases between all tokens of an image of the given grid."""
        table = position_rules.resize_relative_bias(self.table[...], self.grid, grid)
        return jnp.moveaxis(table[position_rules.relative_bias_index(grid)], -1, 0)
