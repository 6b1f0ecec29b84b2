"""BEiT: classifies the tokens of hidden patches (microsoft/unilm/beit, `modeling_pretrain.py`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.vit import ViT
from jaxpart.pretraining import tokenizer
from jaxpart.pretraining.decoders import Codebook, DecoderConfig
from jaxpart.pretraining.encode import DropPath, encode
from jaxpart.pretraining.objective import Inputs, Outcome


class Decoder(nnx.Module):
    """The mask token and the linear token classifier (`lm_head`)."""

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
    drop_path: DropPath | None = None,
) -> Float[Array, "batch patch tokens"]:
    """Token logits of every patch, with the masked patches hidden."""
    hidden = mask, decoder.mask_token[...]
    tokens = encode(vit, images, hidden=hidden, drop_path=drop_path)
    return decoder.head(tokens[:, len(vit.config.prefix) :])


class Beit(tokenizer.TokenObjective):
    """Replaces blocks of patches by the mask token; the encoder predicts their tokens."""

    def loss(self, inputs: Inputs) -> Outcome:
        """Cross entropy to the k-means tokens of the hidden patches."""
        task = self.task(inputs, exact=False)
        logits = masked_logits(
            inputs.student.vit, inputs.student.decoder, task.images, task.mask, task.drop_path
        )
        loss = tokenizer.token_cross_entropy(logits, task.labels, task.mask)
        correct = (jnp.argmax(logits, axis=-1) == task.labels) & task.mask
        return Outcome(loss, {"accuracy": correct.sum() / task.mask.sum()}, {})


METHOD = Beit
