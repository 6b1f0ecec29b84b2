"""iBOT: DINO that also distils masked patches (bytedance/ibot, `main_ibot.py`)."""

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
    """Cross entropy at the hidden patches: mean per image, then over images and crops."""
    targets = sharpened(teacher, center, teacher_temperature)
    likelihood = jax.nn.log_softmax(student / STUDENT_TEMPERATURE)
    losses = -(targets * likelihood).sum(axis=-1)
    hidden = mask.astype(losses.dtype)
    return ((losses * hidden).sum(axis=-1) / jnp.maximum(hidden.sum(axis=-1), 1)).mean()


class Decoder(nnx.Module):
    """The mask token, which only the student has."""

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
        """Hides a share of each image's patches, drawn from the configured shares ± their deviations."""
        options = self.config.objective
        choice_key, deviation_key, mask_key = jax.random.split(key, 3)
        choice = jax.random.randint(choice_key, (images,), 0, len(options.mask_shares))
        deviation = jax.random.uniform(deviation_key, (images,), minval=-1, maxval=1)
        share = (
            jnp.asarray(options.mask_shares)[choice]
            + deviation * jnp.asarray(options.mask_deviations)[choice]
        )
        rows, columns = grid = self.grid("pair")
        hidden = jnp.floor(share * rows * columns).astype(int)
        if options.mask == "random":
            return masks.random_mask(mask_key, (images, rows * columns), hidden)
        smallest = (min(grid) // 3) ** 2
        return masks.block_mask(mask_key, images, grid, hidden, smallest=smallest, exact=False)

    def loss(self, inputs: Inputs) -> Outcome:
        """DINO's cls loss plus the weighted loss of hidden patches; also updates both centres."""
        view_key, mask_key, global_key, local_key = jax.random.split(inputs.key, 4)
        batch = len(inputs.images)
        crops, local = self.crops(view_key, inputs.images)
        mask = self.mask(mask_key, len(crops))

        def logits(module: Any, tokens: Array) -> tuple[Array, Array]:
            head = module.vit.projector.head
            patch_last = head.patch_last if head.has_patch_layer else head.last
            embedded = head.bottleneck(tokens)
            cls, patches = head.last(embedded[:, 0]), patch_last(embedded[:, 1:])
            return by_crop(cls, batch), by_crop(patches, batch)

        teacher, teacher_patches = logits(inputs.teacher, encode(inputs.teacher.vit, crops))
        hidden = mask, inputs.student.decoder.mask_token[...]
        tokens = encode(
            inputs.student.vit, crops, hidden=hidden, drop_path=self.drop_path(global_key)
        )
        student, student_patches = logits(inputs.student, tokens)
        local_logits = self.local_logits(inputs.student, local, batch, local_key)
        student = jnp.concatenate([student, local_logits])
        center, patch_center = inputs.memory["center"], inputs.memory["patch_center"]
        temperature = self.teacher_temperature(inputs.step)
        cls_loss = dino_loss(student, teacher, center, temperature)
        patches_loss = patch_loss(
            student_patches, teacher_patches, by_crop(mask, batch), patch_center, temperature
        )
        info = information(sharpened(teacher, center, temperature))
        memory = {
            "center": moved_center(center, teacher.mean(axis=(0, 1))),
            "patch_center": moved_center(patch_center, teacher_patches.mean(axis=(0, 1, 2))),
        }
        metrics = {"loss_cls": cls_loss, "loss_patch": patches_loss, "information": info}
        loss = cls_loss + self.config.objective.get("patch_weight", 1.0) * patches_loss
        return Outcome(loss, metrics, memory)


METHOD = Ibot
