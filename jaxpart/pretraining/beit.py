"""BEiT: tokens of hidden patches, classified (microsoft/unilm/beit, `modeling_pretrain.py`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.encoders.vit import ViT
from jaxpart.pretraining import masks, tokenizer
from jaxpart.pretraining.decoders import Codebook, DecoderConfig
from jaxpart.pretraining.encode import DropPath, encode
from jaxpart.pretraining.objective import Inputs, Objective, Outcome
from jaxpart.pretraining.views import make_views, normalize


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
    drop_path: DropPath | None = None,
) -> Float[Array, "batch patch tokens"]:
    """Token logits of every patch, of images with the masked patches hidden."""
    hidden = mask, decoder.mask_token[...]
    tokens = encode(vit, images, hidden=hidden, drop_path=drop_path)
    return decoder.head(tokens[:, len(vit.config.prefix) :])


class Beit(Objective):
    """Blocks of patches are hidden behind the mask token; the encoder names their tokens."""

    def loss(self, inputs: Inputs) -> Outcome:
        """Cross entropy to the k-means tokens of the hidden patches."""
        given, student = self.config.objective, inputs.student
        view, masking, drop = jax.random.split(inputs.key, 3)
        images = make_views(view, inputs.images, self.view("view"))[:, 0]
        labels = tokenizer.tokens_of(student.decoder.codebook[...], images, self.encoder.patch_size)
        hidden = int(given.mask_share * labels.shape[1])
        mask = masks.block_mask(
            masking,
            len(images),
            self.encoder.grid,
            hidden,
            smallest=given.smallest_block,
            exact=False,
        )
        logits = masked_logits(
            student.vit, student.decoder, normalize(images), mask, self.drop_path(drop)
        )
        right = (jnp.argmax(logits, axis=-1) == labels) & mask
        loss = token_cross_entropy(logits, labels, mask)
        return Outcome(loss, {"accuracy": right.sum() / mask.sum()}, {})


METHOD = Beit
