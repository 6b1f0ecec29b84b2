"""DINO: self-distillation between crops (facebookresearch/dino, `main_dino.py`)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from jaxpart.pretraining.crops import make_views, normalize
from jaxpart.pretraining.encode import encode
from jaxpart.pretraining.objective import Inputs, Objective, Outcome, Student, information

STUDENT_TEMPERATURE = 0.1
CENTER_MOMENTUM = 0.9


def sharpened(
    teacher: Float[Array, "... out"], center: Float[Array, "... out"], temperature: float | Array
) -> Float[Array, "... out"]:
    """The teacher's centred, sharpened distribution; gradients are stopped."""
    return jax.lax.stop_gradient(jax.nn.softmax((teacher - center) / temperature))


def moved_center(center: Float[Array, "*one out"], mean: Array) -> Float[Array, "*one out"]:
    """The moving average of the teacher's outputs, updated with a batch's mean."""
    return CENTER_MOMENTUM * center + (1 - CENTER_MOMENTUM) * jax.lax.stop_gradient(mean)


def dino_loss(
    student: Float[Array, "crops batch out"],
    teacher: Float[Array, "global batch out"],
    center: Float[Array, "1 out"],
    teacher_temperature: float | Array,
) -> Float[Array, ""]:
    """Mean cross entropy from every global crop of the teacher to every other crop of the student."""
    targets = sharpened(teacher, center, teacher_temperature)
    likelihood = jax.nn.log_softmax(student / STUDENT_TEMPERATURE)
    pairs = -jnp.einsum("gbk,cbk->gc", targets, likelihood, precision=jax.lax.Precision.HIGHEST)
    pairs /= student.shape[1]
    same = jnp.eye(pairs.shape[0], pairs.shape[1], dtype=bool)
    return jnp.where(same, 0, pairs).sum() / (pairs.size - len(teacher))


def by_crop(outputs: Shaped[Array, "images ..."], batch: int) -> Shaped[Array, "crops batch ..."]:
    """Regroups outputs from image by image to crop by crop."""
    return jnp.moveaxis(outputs.reshape(batch, -1, *outputs.shape[1:]), 1, 0)


class Dino(Objective):
    """Matches the student's crops, local ones too, to the teacher's global crops of the same image."""

    has_teacher = True

    def memory(self) -> dict[str, Array]:
        """The centre of the teacher's logits."""
        assert self.encoder.projector is not None
        return {"center": jnp.zeros((1, self.encoder.projector.out))}

    def resolve(self, student: Student) -> None:
        """Weight norm with g = 1: every output row of a last layer has unit length."""
        head = student.vit.projector.head
        for layer in (head.last, head.patch_last) if head.has_patch_layer else (head.last,):
            kernel = layer.kernel[...]
            layer.kernel.set_value(kernel / jnp.linalg.norm(kernel, axis=0, keepdims=True))

    def adjust(self, changes: nnx.State, step: Int[Array, ""]) -> nnx.State:
        """Freezes the last layers in the first epochs."""
        is_trained = self.epochs(step) >= self.config.objective.freeze_last_layer_epochs
        last = (jax.tree_util.DictKey("last"), jax.tree_util.DictKey("patch_last"))
        return jax.tree.map_with_path(
            lambda path, g: jnp.where(is_trained, g, 0) if any(k in path for k in last) else g,
            changes,
        )

    def teacher_temperature(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Increases linearly per epoch."""
        first, last, epochs = self.config.objective.teacher_temperature
        return first + (last - first) * jnp.minimum(self.epochs(step) / max(epochs - 1, 1), 1)

    def crops(self, key: Array, images: Array) -> tuple[Array, Array | None]:
        """Normalised global crops (two per image) and local ones, image by image."""
        global_key, local_key = jax.random.split(key)
        pair = make_views(global_key, images, self.view("pair"), 2)
        local = None
        if self.config.objective.local_crops:
            local = make_views(
                local_key, images, self.view("local"), self.config.objective.local_crops
            )
            local = normalize(local.reshape(-1, *local.shape[2:]))
        return normalize(pair.reshape(-1, *pair.shape[2:])), local

    def local_logits(self, student: Any, local: Array | None, batch: int, drop: Array) -> Array:
        """The student's logits of the local crops, [crops, batch, out]; [0, batch, out] without any."""
        head = student.vit.projector.head
        if local is None:
            return jnp.zeros((0, batch, head.last.out_features))
        cls = encode(student.vit, local, drop_path=self.drop_path(drop))[:, 0]
        return by_crop(head.last(head.bottleneck(cls)), batch)

    def loss(self, inputs: Inputs) -> Outcome:
        """Cross entropy between crops; also updates the centre."""
        view_key, global_key, local_key = jax.random.split(inputs.key, 3)
        batch = len(inputs.images)
        crops, local = self.crops(view_key, inputs.images)

        def logits(module: Any, tokens: Array) -> Array:
            head = module.vit.projector.head
            return by_crop(head.last(head.bottleneck(tokens[:, 0])), batch)

        teacher = logits(inputs.teacher, encode(inputs.teacher.vit, crops))
        tokens = encode(inputs.student.vit, crops, drop_path=self.drop_path(global_key))
        student = jnp.concatenate(
            [
                logits(inputs.student, tokens),
                self.local_logits(inputs.student, local, batch, local_key),
            ]
        )
        center, temperature = inputs.memory["center"], self.teacher_temperature(inputs.step)
        loss = dino_loss(student, teacher, center, temperature)
        metrics = {"information": information(sharpened(teacher, center, temperature))}
        memory = {"center": moved_center(center, teacher.mean(axis=(0, 1)))}
        return Outcome(loss, metrics, memory)


METHOD = Dino
