"""CAE: regresses hidden patches in representation space (Atten4Vis/CAE, `models/modeling_cae.py`)."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jaxpart.encoders import positions as position_rules
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.blocks import Block, Mlp
from jaxpart.encoders.layers import make_norm
from jaxpart.encoders.positions import Grid
from jaxpart.encoders.vit import ViT
from jaxpart.pretraining import masks, tokenizer
from jaxpart.pretraining.decoders import Codebook, DecoderConfig, blocks_config
from jaxpart.pretraining.encode import DropPath, encode
from jaxpart.pretraining.objective import Inputs, Outcome, spread

ALIGNMENT_WEIGHT = 2.0


def cae_losses(
    logits: Float[Array, "*hidden tokens"],
    labels: Int[Array, "*hidden"],
    predicted: Float[Array, "batch hidden width"],
    target: Float[Array, "batch hidden width"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Cross entropy to the token targets, and the weighted alignment of representations.

    Returns:
      (token loss, alignment loss); the objective is their sum.
    """
    tokens = tokenizer.token_cross_entropy(logits, labels, jnp.ones_like(labels, bool))
    alignment = ((predicted - jax.lax.stop_gradient(target)) ** 2).mean()
    return tokens, ALIGNMENT_WEIGHT * alignment


class CrossAttention(nnx.Module):
    """Multi-head attention from queries to other tokens, with biases on q and v only."""

    def __init__(self, width: int, num_heads: int, *, rngs: nnx.Rngs) -> None:
        """Creates the projections."""
        self.num_heads, self.precision = num_heads, None  # see `jaxpart.encoders.precision`
        self.q, self.k, self.v = (
            nnx.Linear(width, width, use_bias=False, rngs=rngs) for _ in range(3)
        )
        self.q_bias, self.v_bias = nnx.Param(jnp.zeros(width)), nnx.Param(jnp.zeros(width))
        self.out = nnx.Linear(width, width, rngs=rngs)

    def __call__(
        self,
        queries: Float[Array, "batch query width"],
        keys: Float[Array, "batch key width"],
        values: Float[Array, "batch key width"],
    ) -> Float[Array, "batch query width"]:
        """Attends."""
        projected = (
            self.q(queries) + self.q_bias[...],
            self.k(keys),
            self.v(values) + self.v_bias[...],
        )
        q, k, v = (rearrange(x, "b t (h d) -> b h t d", h=self.num_heads) for x in projected)
        einsum = functools.partial(jnp.einsum, precision=self.precision)
        logits = einsum("bhqd,bhkd->bhqk", q * q.shape[-1] ** -0.5, k)
        attended = einsum("bhqk,bhkd->bqhd", jax.nn.softmax(logits, axis=-1), v)
        return self.out(rearrange(attended, "b q h d -> b q (h d)"))


class RegressorBlock(nnx.Module):
    """Cross attention from hidden to all patches, and an MLP. Its second norm is on the main path."""

    def __init__(self, config: ViTConfig, *, rngs: nnx.Rngs) -> None:
        """Creates the layers."""
        self.norm_q, self.norm_k, self.norm_v, self.norm2 = (
            make_norm("layer", config.width, config.norm_epsilon, rngs) for _ in range(4)
        )
        self.attention = CrossAttention(config.width, config.num_heads, rngs=rngs)
        self.mlp = Mlp(config, rngs=rngs)
        self.scale1 = nnx.Param(jnp.full(config.width, 0.1))
        self.scale2 = nnx.Param(jnp.full(config.width, 0.1))

    def __call__(
        self,
        hidden: Float[Array, "batch hidden width"],
        context: Float[Array, "batch patch width"],
        hidden_positions: Float[Array, "batch hidden width"],
        context_places: Float[Array, "batch patch width"],
    ) -> Float[Array, "batch hidden width"]:
        """Refines the hidden patches; positions are added to queries and keys, not to values."""
        attended = self.attention(
            self.norm_q(hidden + hidden_positions),
            self.norm_k(context + context_places),
            self.norm_v(context),
        )
        hidden = self.norm2(hidden + self.scale1[...] * attended)
        return hidden + self.scale2[...] * self.mlp(hidden)


class Prediction(NamedTuple):
    """CAE's outputs for masked images; hidden patches are in patch order.

    Attributes:
      predicted: Representations of the hidden patches, regressed from the visible ones.
      target: Their representations by the encoder, computed from them alone.
      logits: Their token logits.
    """

    predicted: Float[Array, "batch hidden width"]
    target: Float[Array, "batch hidden width"]
    logits: Float[Array, "batch hidden tokens"]


class Decoder(nnx.Module):
    """Latent regressor, token decoder and, in released checkpoints, the alignment encoder."""

    def __init__(self, encoder: ViTConfig, config: DecoderConfig, *, rngs: nnx.Rngs) -> None:
        """Creates them for an encoder of the given architecture and width."""
        self.config, self.prefix = config, len(encoder.prefix)
        self.mask_token = nnx.Param(0.02 * jax.random.normal(rngs.params(), (config.width,)))
        patches = position_rules.sincos(config.width, config.grid, by_column=True)
        self.positions = nnx.Param(
            jnp.concatenate([jnp.zeros((self.prefix, config.width)), patches])
        )
        crossing = blocks_config(encoder, config, config.regressor_mlp_width)
        self.regressor = nnx.List(
            RegressorBlock(crossing, rngs=rngs) for _ in range(config.regressor_depth)
        )
        self.regressor_norm = make_norm("layer", config.width, encoder.norm_epsilon, rngs)
        blocks = blocks_config(encoder, config, config.mlp_width)
        self.blocks = nnx.List(Block(blocks, rngs=rngs) for _ in range(config.depth))
        self.norm = make_norm("layer", config.width, encoder.norm_epsilon, rngs)
        self.head = nnx.Linear(config.width, config.out, rngs=rngs)
        self.has_alignment = config.alignment
        if config.alignment:
            rows, columns = (side * encoder.patch_size for side in config.grid)
            trained = dataclasses.replace(encoder, image_size=(rows, columns), projector=None)
            self.alignment = ViT(trained, rngs=rngs)
        if config.codebook:
            self.codebook = Codebook(jnp.zeros((config.out, config.codebook)))

    def __call__(
        self,
        patches: Float[Array, "batch visible width"],
        visible: Int[Array, "batch visible"],
        hidden: Int[Array, "batch hidden"],
        grid: Grid,
    ) -> tuple[Float[Array, "batch hidden width"], Float[Array, "batch hidden tokens"]]:
        """Regresses the representations of hidden patches, and their token logits.

        The patches are the encoder's output for the visible ones, without the prefix; `visible` and
        `hidden` are indices, `grid` the patches of the images along (height, width).
        """
        embedded = position_rules.resize_positions(
            self.positions[...][self.prefix :], self.config.grid, grid, "sincos_wh"
        )
        visible_positions, hidden_positions = embedded[visible], embedded[hidden]
        all_positions = jnp.concatenate([visible_positions, hidden_positions], axis=1)
        regressed = jnp.broadcast_to(self.mask_token[...], hidden_positions.shape)
        for crossing in self.regressor:
            context = jnp.concatenate([patches, regressed], axis=1)
            regressed = crossing(regressed, context, hidden_positions, all_positions)
        regressed = self.regressor_norm(regressed)
        decoded = regressed + hidden_positions
        for block in self.blocks:
            decoded, _ = block(decoded, None)
        return regressed, self.head(self.norm(decoded))


def predict(
    vit: ViT,
    decoder: Decoder,
    images: Float[Array, "batch height width 3"],
    mask: Bool[Array, "batch patch"],
    hidden: int,
    drop_path: DropPath | None = None,
) -> Prediction:
    """Runs encoder, regressor and decoder."""
    prefix = len(vit.config.prefix)
    visible, others = masks.split(mask, hidden)
    tokens = encode(vit, images, visible=visible, drop_path=drop_path)
    target_vit = decoder.alignment if decoder.has_alignment else vit
    target = jax.lax.stop_gradient(encode(target_vit, images, visible=others))[:, prefix:]
    grid = vit.config.grid_of(*images.shape[1:3])
    predicted, logits = decoder(tokens[:, prefix:], visible, others, grid)
    return Prediction(predicted, target, logits)


class Cae(tokenizer.TokenObjective):
    """The encoder sees only visible patches; the regressor predicts its output for the others."""

    def loss(self, inputs: Inputs) -> Outcome:
        """Cross entropy to the hidden patches' tokens, and alignment of their representations."""
        student, task = inputs.student, self.task(inputs, exact=True)
        prediction = predict(
            student.vit, student.decoder, task.images, task.mask, task.hidden, task.drop_path
        )
        _, others = masks.split(task.mask, task.hidden)
        labels = jnp.take_along_axis(task.labels, others, axis=1)
        token_loss, alignment_loss = cae_losses(
            prediction.logits, labels, prediction.predicted, prediction.target
        )
        correct = jnp.argmax(prediction.logits, axis=-1) == labels
        metrics = {
            "loss_tokens": token_loss,
            "loss_alignment": alignment_loss,
            "accuracy": correct.mean(),
            "spread": spread(prediction.target.reshape(-1, prediction.target.shape[-1])),
        }
        return Outcome(token_loss + alignment_loss, metrics, {})


METHOD = Cae
