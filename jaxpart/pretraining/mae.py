"""MAE: reconstructs hidden patches' pixels from visible ones (facebookresearch/mae, `models_mae.py`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jaxpart.encoders import positions as position_rules
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.blocks import Block
from jaxpart.encoders.layers import make_norm
from jaxpart.encoders.positions import Grid
from jaxpart.encoders.vit import ViT
from jaxpart.pretraining import masks
from jaxpart.pretraining.crops import make_views, normalize, patches_of
from jaxpart.pretraining.decoders import DecoderConfig, blocks_config
from jaxpart.pretraining.encode import DropPath, encode
from jaxpart.pretraining.objective import Inputs, Objective, Outcome

_EPSILON = 1e-6


def mae_loss(
    prediction: Float[Array, "batch patch pixel"],
    target: Float[Array, "batch patch pixel"],
    mask: Float[Array, "batch patch"],
) -> Float[Array, ""]:
    """Mean squared error over the hidden patches (mask 1 or True).

    Each target patch is normalised to mean 0 and (unbiased) variance 1.
    """
    mean = target.mean(axis=-1, keepdims=True)
    variance = target.var(axis=-1, keepdims=True, ddof=1)
    target = (target - mean) / jnp.sqrt(variance + _EPSILON)
    errors = ((prediction - target) ** 2).mean(axis=-1)
    hidden = mask.astype(errors.dtype)
    return (errors * hidden).sum() / hidden.sum()


class Decoder(nnx.Module):
    """A small transformer over visible tokens and mask tokens that predicts the pixels of each patch."""

    def __init__(self, encoder: ViTConfig, config: DecoderConfig, *, rngs: nnx.Rngs) -> None:
        """Creates a decoder for an encoder of the given architecture."""
        self.config, self.prefix = config, len(encoder.prefix)
        blocks = blocks_config(encoder, config, config.mlp_width)
        self.embed = nnx.Linear(encoder.width, config.width, rngs=rngs)
        self.mask_token = nnx.Param(0.02 * jax.random.normal(rngs.params(), (config.width,)))
        patches = position_rules.sincos(config.width, config.grid, by_column=False)
        self.positions = nnx.Param(
            jnp.concatenate([jnp.zeros((self.prefix, config.width)), patches])
        )
        self.blocks = nnx.List(Block(blocks, rngs=rngs) for _ in range(config.depth))
        self.norm = make_norm("layer", config.width, encoder.norm_epsilon, rngs)
        self.head = nnx.Linear(config.width, config.out, rngs=rngs)

    def __call__(
        self,
        tokens: Float[Array, "batch token width"],
        visible: Int[Array, "batch some"],
        hidden: Int[Array, "batch others"],
        grid: Grid,
    ) -> Float[Array, "batch patch out"]:
        """Predicts every patch."""
        tokens = self.embed(tokens)
        prefix, seen = tokens[:, : self.prefix], tokens[:, self.prefix :]
        unseen = jnp.broadcast_to(self.mask_token[...], (*hidden.shape, tokens.shape[-1]))
        restore = jnp.argsort(jnp.concatenate([visible, hidden], axis=1), axis=1)
        patches = masks.take(jnp.concatenate([seen, unseen], axis=1), restore)
        stored = self.positions[...]
        embedded = position_rules.resize_positions(
            stored[self.prefix :], self.config.grid, grid, "bicubic"
        )
        tokens = jnp.concatenate([prefix + stored[: self.prefix], patches + embedded], axis=1)
        for block in self.blocks:
            tokens, _ = block(tokens, None)
        return self.head(self.norm(tokens[:, self.prefix :]))


def reconstruct(
    vit: ViT,
    decoder: Decoder,
    images: Float[Array, "batch height width 3"],
    mask: Bool[Array, "batch patch"],
    hidden: int,
    drop_path: DropPath | None = None,
) -> Float[Array, "batch patch pixel"]:
    """Pixels of every patch (normalised per patch, if trained so), from the visible ones alone."""
    visible, others = masks.split(mask, hidden)
    grid = vit.config.grid_of(*images.shape[1:3])
    tokens = encode(vit, images, visible=visible, drop_path=drop_path)
    return decoder(tokens, visible, others, grid)


class Mae(Objective):
    """Drops most patches (three quarters, as published); the decoder reconstructs them."""

    def loss(self, inputs: Inputs) -> Outcome:
        """Squared error of the hidden patches' pixels, normalised per patch."""
        view_key, mask_key, drop_key = jax.random.split(inputs.key, 3)
        images = normalize(make_views(view_key, inputs.images, self.view("view"))[:, 0])
        target = patches_of(images, self.encoder.patch_size)
        hidden = int(self.config.objective.mask_share * target.shape[1])
        mask = masks.random_mask(mask_key, (len(images), target.shape[1]), hidden)
        prediction = reconstruct(
            inputs.student.vit,
            inputs.student.decoder,
            images,
            mask,
            hidden,
            self.drop_path(drop_key),
        )
        return Outcome(mae_loss(prediction, target, mask), {}, {})


METHOD = Mae
