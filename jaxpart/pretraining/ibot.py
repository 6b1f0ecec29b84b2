"""iBOT: DINO with masked patches distilled too (bytedance/ibot, `main_ibot.py`)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from jaxpart.encoders.architecture import ViTConfig
from jaxpart.pretraining import masks
from jaxpart.pretraining.decoders import DecoderConfig
from jaxpart.pretraining.dino import (
    STUDENT_TEMPERATURE,
    Dino,
    by_crop,
    dino_loss,
    moved_center,
    sharpened,
)
from jaxpart.pretraining.encode import encode
from jaxpart.pretraining.objective import Inputs, Outcome, information


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
    each = -(targets * likelihood).sum(axis=-1)
    hidden = mask.astype(each.dtype)
    return ((each * hidden).sum(axis=-1) / jnp.maximum(hidden.sum(axis=-1), 1)).mean()


class Decoder(nnx.Module):
    """The mask token, which the student alone has."""

    def __init__(self, encoder: ViTConfig, config: DecoderConfig, *, rngs: nnx.Rngs) -> None:
        """Creates it for an encoder of the given architecture."""
        self.config = config
        self.mask_token = nnx.Param(0.02 * jax.random.normal(rngs.params(), (encoder.width,)))


class Ibot(Dino):
    """DINO whose student sees the global crops with patches hidden, and matches the teacher there."""

    def memory(self) -> dict[str, Array]:
        """The centres of the teacher's cls and patch logits."""
        projector = self.encoder.projector
        assert projector is not None
        patch_out = projector.patch_out or projector.out  # one last layer for both: shared head
        return {**super().memory(), "patch_center": jnp.zeros((1, 1, patch_out))}

    def mask(self, key: Array, images: int) -> Bool[Array, "images patch"]:
        """Hides a share of each image drawn from those configured, each ± its deviation."""
        given = self.config.objective
        which, deviation, mask_key = jax.random.split(key, 3)
        choice = jax.random.randint(which, (images,), 0, len(given.mask_shares))
        off = jax.random.uniform(deviation, (images,), minval=-1, maxval=1)
        share = (
            jnp.asarray(given.mask_shares)[choice]
            + off * jnp.asarray(given.mask_deviations)[choice]
        )
        rows, columns = grid = self.grid("pair")
        hidden = jnp.floor(share * rows * columns).astype(int)
        if given.mask == "random":
            return masks.random_mask(mask_key, (images, rows * columns), hidden)
        smallest = (min(grid) // 3) ** 2
        return masks.block_mask(mask_key, images, grid, hidden, smallest=smallest, exact=False)

    def loss(self, inputs: Inputs) -> Outcome:
        """The cls loss of DINO and the loss of hidden patches; both centres move after them."""
        views, masking, large, small = jax.random.split(inputs.key, 4)
        batch = len(inputs.images)
        crops, local = self.crops(views, inputs.images)
        mask = self.mask(masking, len(crops))

        def logits(module: Any, tokens: Array) -> tuple[Array, Array]:
            head = module.vit.projector.head
            patch_last = head.patch_last if head.has_patch_layer else head.last
            both = head.bottleneck(tokens)
            return by_crop(head.last(both[:, 0]), batch), by_crop(patch_last(both[:, 1:]), batch)

        teacher, teacher_patches = logits(inputs.teacher, encode(inputs.teacher.vit, crops))
        hidden = mask, inputs.student.decoder.mask_token[...]
        tokens = encode(inputs.student.vit, crops, hidden=hidden, drop_path=self.drop_path(large))
        student, student_patches = logits(inputs.student, tokens)
        student = jnp.concatenate([student, self.local_logits(inputs.student, local, batch, small)])
        center, patch_center = inputs.memory["center"], inputs.memory["patch_center"]
        temperature = self.teacher_temperature(inputs.step)
        of_cls = dino_loss(student, teacher, center, temperature)
        of_patches = patch_loss(
            student_patches, teacher_patches, by_crop(mask, batch), patch_center, temperature
        )
        told = information(sharpened(teacher, center, temperature))
        memory = {
            "center": moved_center(center, teacher.mean(axis=(0, 1))),
            "patch_center": moved_center(patch_center, teacher_patches.mean(axis=(0, 1, 2))),
        }
        metrics = {"loss_cls": of_cls, "loss_patch": of_patches, "information": told}
        return Outcome(of_cls + of_patches, metrics, memory)


METHOD = Ibot
