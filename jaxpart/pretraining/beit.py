"""BEiT: tokens of hidden patches, classified (microsoft/unilm/beit, `modeling_pretrain.py`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.vit import ViT
from jaxpart.pretraining.decoders import Codebook, DecoderConfig
from jaxpart.pretraining.encode import encode


def token_cross_entropy(
    logits: Float[Array, "*patch tokens"], labels: Int[Array, "*patch"], mask: Array
) -> Float[Array, ""]:
    """Mean cross entropy to the tokens of the patches where the mask is True."""
    likelihood = jax.nn.log_softmax(logits)
    each = -jnp.take_along_axis(likelihood, labels[..., None], axis=-1)[..., 0]
    return jnp.where(mask, each, 0).sum() / mask.sum()


class Decoder(nnx.Module):
    """The mask token and the linear classifier of tokens (`lm_head`)."""

    def __init__(self, encoder: ViTConfig, config: DecoderConfig, *, rngs: nnx.Rngs) -> None:
        """Creates them for an encoder of the given architecture."""
        self.config = config
        self.mask_token = nnx.Param(0.02 * jax.random.normal(rngs.params(), (encoder.width,)))
        self.head = nnx.Linear(encoder.width, config.out, rngs=rngs)
        if config.codebook:
            self.codebook = Codebook(jnp.zeros((config.out, config.codebook)))


def masked_logits(
    vit: ViT,
    decoder: Decoder,
    images: Float[Array, "batch height width 3"],
    mask: Bool[Array, "batch patch"],
) -> Float[Array, "batch patch tokens"]:
    """Token logits of every patch, of images with the masked patches hidden."""
    tokens = encode(vit, images, hidden=(mask, decoder.mask_token[...]))
    return decoder.head(tokens[:, len(vit.config.prefix) :])
