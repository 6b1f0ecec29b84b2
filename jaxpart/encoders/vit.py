"""The one vision transformer. Every difference between the methods is a named field of `ViTConfig`."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from jaxpart.encoders import positions as position_rules
from jaxpart.encoders.positions import Grid, PositionResize
from jaxpart.encoders.projectors import Predictor, Projector, ProjectorConfig
from jaxpart.errors import JaxpartError

NORM_EPSILON = 1e-6
"""Of every LayerNorm in every method's own code."""


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """Architecture of an encoder, projector included.

    Attributes:
      image_size: (height, width) in pixels that the stored positions belong to.
      patch_size: Side of a patch in pixels.
      width: Channels of a token.
      depth: Number of blocks.
      num_heads: Attention heads per block.
      mlp_width: Hidden channels of each block's MLP.
      prefix: Names of the tokens before the patches: ("cls",) or ("cls", "dist").
      positions: Absolute positions: trained, fixed sin-cos, or none (BEiT).
      position_resize: The family's rule for another grid, see `PositionResize`.
      prefix_positions: Whether the prefix tokens have positions too (DeiT III: not).
      relative_bias: Relative position bias tables (BEiT): none, one for all blocks, or one per block.
      layer_scale: Whether each residual branch is scaled by a trained vector.
      qkv_bias: Biases of the query, key and value projection: all three, or q and v alone (BEiT, CAE).
      stem: Patch embedding: one linear map per patch, or MoCo v3's convolutions.
      final_norm: Whether a LayerNorm follows the last block (fine-tuned BEiT: not).
      pooled_norm: Whether a LayerNorm is applied to the mean patch token (fine-tuned BEiT).
      projector: The projector or classifier behind the encoder, if any.
    """

    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    prefix: tuple[str, ...] = ("cls",)
    positions: Literal["learned", "sincos", "none"] = "learned"
    position_resize: PositionResize = "bicubic"
    prefix_positions: bool = True
    relative_bias: Literal["none", "shared", "per_block"] = "none"
    layer_scale: bool = False
    qkv_bias: Literal["qkv", "qv"] = "qkv"
    stem: Literal["patch", "conv"] = "patch"
    final_norm: bool = True
    pooled_norm: bool = False
    projector: ProjectorConfig | None = None

    def __post_init__(self) -> None:
        """Refuses sizes that do not fit together."""
        if self.width % self.num_heads:
            raise JaxpartError(
                f"width {self.width} cannot be split into {self.num_heads} heads; give a number of "
                f"heads that divides it"
            )
        self.grid_of(*self.image_size)

    def grid_of(self, height: int, width: int) -> Grid:
        """Patches along (height, width) of an image. Raises `JaxpartError` if they do not fit."""
        if height < 1 or width < 1 or height % self.patch_size or width % self.patch_size:
            raise JaxpartError(
                f"an image of {height} × {width} pixels cannot be cut into patches of "
                f"{self.patch_size}; resize it to a multiple of the patch size"
            )
        return height // self.patch_size, width // self.patch_size

    @property
    def grid(self) -> Grid:
        """Grid that the stored positions belong to."""
        return self.grid_of(*self.image_size)


def _layer_norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    # Flax's fast variance, E[x²] − E[x]², cancels where the mean is large.
    return nnx.LayerNorm(width, epsilon=NORM_EPSILON, use_fast_variance=False, rngs=rngs)


class Attention(nnx.Module):
    """Multi-head self-attention with one matrix for q, k and v, in this order, each split into heads."""

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates the projections."""
        width = config.width
        self.num_heads = config.num_heads
        self.qkv = nnx.Linear(width, 3 * width, use_bias=config.qkv_bias == "qkv", rngs=rngs)
        self.has_qv_bias = config.qkv_bias == "qv"
        if self.has_qv_bias:
            self.q_bias = nnx.Param(jnp.zeros(width))
            self.v_bias = nnx.Param(jnp.zeros(width))
        self.out = nnx.Linear(width, width, rngs=rngs)

    def __call__(
        self, tokens: Float[Array, "batch token width"], bias: Array | None
    ) -> tuple[Float[Array, "batch token width"], Float[Array, "batch head query key"]]:
        """Returns the attended tokens and the attention weights."""
        qkv = self.qkv(tokens)
        if self.has_qv_bias:
            no_bias = jnp.zeros_like(self.q_bias[...])
            qkv = qkv + jnp.concatenate([self.q_bias[...], no_bias, self.v_bias[...]])
        q, k, v = rearrange(qkv, "b t (three h d) -> three b h t d", three=3, h=self.num_heads)
        logits = jnp.einsum("bhqd,bhkd->bhqk", q * q.shape[-1] ** -0.5, k)
        if bias is not None:
            logits = logits + bias
        weights = jax.nn.softmax(logits, axis=-1)
        attended = jnp.einsum("bhqk,bhkd->bqhd", weights, v)
        return self.out(rearrange(attended, "b q h d -> b q (h d)")), weights


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
        self.norm1 = _layer_norm(config.width, rngs)
        self.attention = Attention(config, rngs=rngs)
        self.norm2 = _layer_norm(config.width, rngs)
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


class PatchStem(nnx.Module):
    """One linear map per patch."""

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates the map."""
        self.patch_size = config.patch_size
        self.projection = nnx.Linear(3 * config.patch_size**2, config.width, rngs=rngs)

    def __call__(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch patch channel"]:
        """Embeds the patches, row by row."""
        side = self.patch_size
        pixels = rearrange(images, "b (r p) (c q) rgb -> b (r c) (p q rgb)", p=side, q=side)
        return self.projection(pixels)


class ConvStem(nnx.Module):
    """MoCo v3's `vit_conv_*` stem: four stride-2 3×3 convolutions with BN + ReLU and a 1×1 convolution."""

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates the convolutions: width/8, /4, /2 and width channels."""
        channels = [3] + [config.width // 2**power for power in (3, 2, 1, 0)]
        self.convolutions = nnx.List(
            nnx.Conv(i, o, (3, 3), strides=2, padding=1, use_bias=False, rngs=rngs)
            for i, o in itertools.pairwise(channels)
        )
        self.norms = nnx.List(
            nnx.BatchNorm(c, use_running_average=True, momentum=0.9, epsilon=1e-5, rngs=rngs)
            for c in channels[1:]
        )
        self.projection = nnx.Conv(config.width, config.width, (1, 1), rngs=rngs)

    def __call__(
        self, images: Float[Array, "batch height width 3"]
    ) -> Float[Array, "batch patch channel"]:
        """Embeds the patches, row by row."""
        hidden = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = jax.nn.relu(norm(convolution(hidden)))
        return rearrange(self.projection(hidden), "b r c d -> b (r c) d")


class ViT(nnx.Module):
    """A vision transformer with its projector.

    `__call__` runs it whole; `embed`, `transform` and `finish` are its three stages, for pretraining
    objectives that mask or drop tokens between them.
    """

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates an encoder with random weights."""
        self.config = config
        width, prefix = config.width, len(config.prefix)
        self.stem = (ConvStem if config.stem == "conv" else PatchStem)(config, rngs=rngs)
        self.prefix_tokens = nnx.Param(0.02 * jax.random.normal(rngs.params(), (prefix, width)))
        if config.positions != "none":
            self.positions = nnx.Param(self._initial_positions(rngs))
        if config.relative_bias == "shared":
            self.relative_bias = RelativeBias(config)
        self.blocks = nnx.List(Block(config, rngs=rngs) for _ in range(config.depth))
        if config.final_norm:
            self.norm = _layer_norm(width, rngs)
        if config.pooled_norm:
            self.pooled_norm = _layer_norm(width, rngs)
        if config.projector is not None:
            self.projector = Projector(width, config.projector, rngs=rngs)
            if config.projector.predictor:
                self.predictor = Predictor(config.projector, rngs=rngs)

    def _initial_positions(self, rngs: nnx.Rngs) -> Float[Array, "slot width"]:
        config = self.config
        rows, columns = config.grid
        slots = len(config.prefix) if config.prefix_positions else 0
        if config.positions == "learned":
            shape = (slots + rows * columns, config.width)
            return 0.02 * jax.random.normal(rngs.params(), shape)
        by_column = config.position_resize == "sincos_wh"
        patches = position_rules.sincos(config.width, config.grid, by_column=by_column)
        return jnp.concatenate([jnp.zeros((slots, config.width)), patches])

    def embed(
        self, images: Float[Array, "batch height width 3"]
    ) -> tuple[Float[Array, "batch token width"], Grid]:
        """Prefix and patch tokens with their positions, before the first block, and the grid."""
        config = self.config
        grid = config.grid_of(*images.shape[1:3])
        patches = self.stem(images)
        prefix = self.prefix_tokens[...]
        if config.positions != "none":
            stored = self.positions[...]
            slots = len(config.prefix) if config.prefix_positions else 0
            if slots:
                prefix = prefix + stored[:slots]
            patches = patches + position_rules.resize_positions(
                stored[slots:], config.grid, grid, config.position_resize
            )
        prefix = jnp.broadcast_to(prefix, (images.shape[0], *prefix.shape))
        return jnp.concatenate([prefix, patches], axis=1), grid

    def transform(
        self, tokens: Float[Array, "batch token width"], grid: Grid
    ) -> tuple[tuple[Float[Array, "batch token width"], ...], Float[Array, "batch head query key"]]:
        """Output of every block, before the final norm, and the attention weights of the last."""
        shared = self.relative_bias(grid) if self.config.relative_bias == "shared" else None
        per_block = self.config.relative_bias == "per_block"
        outputs = []
        for block in self.blocks:
            bias = block.relative_bias(grid) if per_block else shared
            tokens, weights = block(tokens, bias)
            outputs.append(tokens)
        return tuple(outputs), weights

    def finish(self, tokens: Float[Array, "batch token width"]) -> dict[str, Array]:
        """Final norm, pooling and projection of the last block's output: see `Encoder.__call__`."""
        config = self.config
        if config.final_norm:
            tokens = self.norm(tokens)
        patches = tokens[:, len(config.prefix) :]
        out = {"tokens": tokens, "embedding": patches.mean(axis=1)}
        out |= {f"{name}_token": tokens[:, i] for i, name in enumerate(config.prefix)}
        if config.pooled_norm:
            out["pooled"] = self.pooled_norm(out["embedding"])
        if config.projector is not None:
            heads = (
                [out["pooled"]]
                if config.pooled_norm
                else list(tokens[:, : len(config.prefix)].swapaxes(0, 1))
            )
            out |= self.projector(heads, patches)
            if config.projector.predictor:
                out["prediction"] = self.predictor(out["projection"])
        return out

    def __call__(
        self,
        images: Float[Array, "batch height width 3"],
        *,
        blocks: bool = False,
        attention: bool = False,
    ) -> dict[str, Array | tuple[Array, ...]]:
        """Runs the encoder: see `Encoder.__call__`, which checks its input and compiles this."""
        tokens, grid = self.embed(images)
        outputs, weights = self.transform(tokens, grid)
        out: dict[str, Array | tuple[Array, ...]] = dict(self.finish(outputs[-1]))
        if blocks:
            out["blocks"] = outputs
        if attention:
            out["attention"] = weights
        return out


def abstract_state(config: ViTConfig) -> nnx.State:
    """Shapes and dtypes of every array of `ViT(config)`, without making any."""
    return nnx.state(nnx.eval_shape(lambda: ViT(config, rngs=nnx.Rngs(0))))


def parameter_count(state: nnx.State) -> int:
    """Number of values in a state."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(state))
