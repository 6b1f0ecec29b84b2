"""The vision transformer. Every difference between the methods is a field of `ViTConfig`."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jaxpart.encoders import positions as position_rules
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.attention import RelativeBias
from jaxpart.encoders.blocks import Block
from jaxpart.encoders.layers import make_norm
from jaxpart.encoders.positions import Grid
from jaxpart.encoders.projectors import Predictor, Projector
from jaxpart.encoders.rotary import rotary_turn
from jaxpart.encoders.stems import ConvStem, PatchStem


class ViT(nnx.Module):
    """A vision transformer with its projector.

    `__call__` runs all of it; `embed`, `transform` and `finish` are its stages, for pretraining objectives
    that mask or drop tokens in between.
    """

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates an encoder with random weights."""
        self.config = config
        width, prefix = config.width, len(config.prefix)
        self.stem = (ConvStem if config.stem == "conv" else PatchStem)(config, rngs=rngs)
        norm = functools.partial(make_norm, config.norm, width, config.norm_epsilon, rngs)
        if config.stem_norm:
            self.stem_norm = norm()
        if prefix:
            self.prefix_tokens = nnx.Param(0.02 * jax.random.normal(rngs.params(), (prefix, width)))
        if config.positions != "none":
            self.positions = nnx.Param(self._initial_positions(rngs))
        if config.relative_bias == "shared":
            self.relative_bias = RelativeBias(config)
        if config.pre_norm:
            self.pre_norm = norm()
        self.blocks = nnx.List(Block(config, rngs=rngs) for _ in range(config.depth))
        if config.final_norm:
            self.norm = norm()
        if config.pooled_norm:
            self.pooled_norm = norm()
        if config.projector is not None:
            self.projector = Projector(width, config.projector, config.norm_epsilon, rngs=rngs)
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
        self,
        images: Float[Array, "batch height width 3"],
        hidden: tuple[Bool[Array, "batch patch"], Float[Array, " width"]] | None = None,
        order: Int[Array, "batch patch"] | None = None,
    ) -> tuple[Float[Array, "batch token width"], Grid]:
        """Prefix and patch tokens with their positions, before the first block, and the grid.

        `hidden` is a mask and the token that replaces the patches where it is True; `order` permutes the
        patches against their positions.
        """
        config = self.config
        grid = config.grid_of(*images.shape[1:3])
        patches = self.stem(images)
        if config.stem_norm:
            patches = self.stem_norm(patches)
        if hidden is not None:
            patches = jnp.where(hidden[0][..., None], hidden[1], patches)
        if order is not None:
            patches = jnp.take_along_axis(patches, order[..., None], axis=1)
        prefix = self.prefix_tokens[...] if config.prefix else jnp.zeros((0, config.width))
        if config.positions != "none":
            stored = self.positions[...]
            slots = len(config.prefix) if config.prefix_positions else 0
            if slots:
                prefix = prefix + stored[:slots]
            patches = patches + position_rules.resize_positions(
                stored[slots:], config.grid, grid, config.position_resize
            )
        prefix = jnp.broadcast_to(prefix, (images.shape[0], *prefix.shape))
        tokens = jnp.concatenate([prefix, patches], axis=1)
        return self.pre_norm(tokens) if config.pre_norm else tokens, grid

    def transform(
        self,
        tokens: Float[Array, "batch token width"],
        grid: Grid,
        branches: Float[Array, "block 2 batch"] | None = None,
    ) -> tuple[
        tuple[Float[Array, "batch token width"], ...],
        tuple[Float[Array, "batch head query key"], ...],
    ]:
        """Outputs of all blocks, before the final norm, and their attention weights.

        `branches` scales the two residual branches of every block (stochastic depth).
        """
        config = self.config
        shared = self.relative_bias(grid) if config.relative_bias == "shared" else None
        per_block = config.relative_bias == "per_block"
        turn = None
        if config.rotary != "none":
            channels = config.width // config.num_heads
            turn = rotary_turn(config.rotary, grid, len(config.prefix), channels)
        outputs, attention = [], []
        for i, block in enumerate(self.blocks):
            bias = block.relative_bias(grid) if per_block else shared
            factors = None if branches is None else branches[i]
            tokens, weights = block(tokens, bias, turn, factors)
            outputs.append(tokens)
            attention.append(weights)
        return tuple(outputs), tuple(attention)

    def finish(self, tokens: Float[Array, "batch token width"]) -> dict[str, Array]:
        """Final norm, pooling and projection of the last block's output: see `Encoder.__call__`."""
        config = self.config
        if config.final_norm:
            tokens = self.norm(tokens)
        patches = tokens[:, len(config.prefix) :]
        out = {"tokens": tokens, "embedding": patches.mean(axis=1)}
        out |= {f"{name}_token": tokens[:, i] for i, name in enumerate(config.prefix)}
        return out | self.project(tokens)

    def project(self, tokens: Float[Array, "batch token width"]) -> dict[str, Array]:
        """The projector's outputs for tokens after the final norm, and "pooled", where they exist."""
        config, out = self.config, dict[str, Array]()
        patches = tokens[:, len(config.prefix) :]
        if config.pooled_norm:
            out["pooled"] = self.pooled_norm(patches.mean(axis=1))
        if config.projector is not None:
            heads = (
                [out["pooled"]]
                if config.pooled_norm
                else list(tokens[:, : config.projector.heads].swapaxes(0, 1))
            )
            out |= self.projector(heads, patches)
            if config.projector.predictor:
                out["prediction"] = self.predictor(out["projection"])
        return out

    def projector_outputs(
        self, out: dict[str, Any]
    ) -> tuple[tuple[Float[Array, "batch _"], ...], tuple[Float[Array, "batch _"], ...]]:
        """Output of every layer of the projector, and of MoCo v3's predictor; empty without one."""
        projector = self.config.projector
        if projector is None or "cls_token" not in out:
            return (), ()
        predicted = self.predictor.mlp.outputs(out["projection"]) if projector.predictor else ()
        return self.projector.outputs(out["cls_token"]), predicted

    def __call__(
        self,
        images: Float[Array, "batch height width 3"],
        order: Int[Array, "batch patch"] | None = None,
        *,
        blocks: bool = False,
        attention: bool = False,
    ) -> dict[str, Any]:
        """Runs the encoder: see `Encoder.__call__`, which checks its input and compiles this."""
        tokens, grid = self.embed(images, order=order)
        outputs, weights = self.transform(tokens, grid)
        out: dict[str, Any] = dict(self.finish(outputs[-1]))
        if blocks:
            out["blocks"] = outputs
            out["projector"], out["predictor"] = self.projector_outputs(out)
        if attention:
            out["attention"] = weights[-1]
        return out


@functools.cache
def _structure(config: ViTConfig) -> tuple[nnx.GraphDef[ViT], list[Any], Any]:
    """The structure of `ViT(config)`, the shapes and dtypes of its weights, and their tree."""

    def make() -> ViT:
        # One key for all weights, as none is drawn: to split it would take most of the time.
        key = jax.random.key(0)
        rngs: Any = nnx.Rngs(0)
        rngs.params = lambda: key
        return ViT(config, rngs=rngs)

    graph, state = nnx.split(nnx.eval_shape(make))
    return graph, *jax.tree.flatten(state)


def abstract_vit(config: ViTConfig) -> ViT:
    """`ViT(config)` with shapes and dtypes in place of weights."""
    graph, weights, tree = _structure(config)
    return nnx.merge(graph, jax.tree.unflatten(tree, weights))


def with_architecture(vit: ViT, config: ViTConfig) -> ViT:
    """A ViT's weights in another architecture, whose weights must have the same sizes: the number of heads
    may differ.
    """
    graph, others, _ = _structure(config)
    weights, tree = jax.tree.flatten(nnx.state(vit))
    reshaped = [
        weight if weight.shape == other.shape else weight.reshape(other.shape)
        for weight, other in zip(weights, others, strict=True)
    ]
    return nnx.merge(graph, jax.tree.unflatten(tree, reshaped))
