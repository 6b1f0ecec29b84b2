"""iBOT: DINO with masked patches distilled too (bytedance/ibot, `main_ibot.py`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.pretraining.decoders import DecoderConfig
from jaxpart.pretraining.dino import STUDENT_TEMPERATURE, sharpened


def patch_loss(
    student: Float[Array, "global batch patch out"],
    teacher: Float[Array, "global batch patch out"],
    mask: Bool[Array, "global batch patch"],
    center: Float[Array, "1 1 out"],
    teacher_temperature: float | Array,
) -> Float[Array, ""]:
    """Cross entropy at the hidden patches: mean over those of an image, then over images and crops.

    Args:
      student: Patch logits of the global crops, which the student saw with patches hidden.
      teacher: Patch logits of the same crops, seen whole.
      mask: Which patches were hidden; an image without any counts as zero.
      center: Subtracted from the teacher's logits.
      teacher_temperature: Of the teacher's softmax; the student's is 0.1.
    """
    targets = sharpened(teacher, center, teacher_temperature)
    likelihood = jax.nn.log_softmax(student / STUDENT_TEMPERATURE)
    each = -jnp.einsum("gbpk,gbpk->gbp", targets, likelihood)
    hidden = mask.astype(each.dtype)
    return ((each * hidden).sum(axis=-1) / jnp.maximum(hidden.sum(axis=-1), 1)).mean()


class Decoder(nnx.Module):
    """The mask token, which the student alone has."""

    def __init__(self, encoder: ViTConfig, config: DecoderConfig, *, rngs: nnx.Rngs) -> None:
        """Creates it for an encoder of the given architecture."""
        self.config = config
        self.mask_token = nnx.Param(0.02 * jax.random.normal(rngs.params(), (encoder.width,)))
