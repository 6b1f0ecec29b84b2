"""DINO: self-distillation between crops (facebookresearch/dino, `main_dino.py`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

STUDENT_TEMPERATURE = 0.1
CENTER_MOMENTUM = 0.9


def sharpened(
    teacher: Float[Array, "... out"], center: Float[Array, "... out"], temperature: float | Array
) -> Float[Array, "... out"]:
    """The teacher's distribution: centred, sharpened, and no way for gradients."""
    return jax.lax.stop_gradient(jax.nn.softmax((teacher - center) / temperature))


def moved_center(center: Float[Array, "*one out"], mean: Array) -> Float[Array, "*one out"]:
    """The moving average of the teacher's outputs after another batch of the given mean."""
    return CENTER_MOMENTUM * center + (1 - CENTER_MOMENTUM) * jax.lax.stop_gradient(mean)


def dino_loss(
    student: Float[Array, "crops batch out"],
    teacher: Float[Array, "global batch out"],
    center: Float[Array, "1 out"],
    teacher_temperature: float | Array,
) -> Float[Array, ""]:
    """Mean cross entropy from every global crop of the teacher to every other crop of the student.

    Args:
      student: Logits of all crops, global ones first.
      teacher: Logits of the global crops.
      center: Subtracted from the teacher's logits.
      teacher_temperature: Of the teacher's softmax; the student's is 0.1.
    """
    targets = sharpened(teacher, center, teacher_temperature)
    likelihood = jax.nn.log_softmax(student / STUDENT_TEMPERATURE)
    pairs = -jnp.einsum("gbk,cbk->gc", targets, likelihood) / student.shape[1]
    same = jnp.eye(pairs.shape[0], pairs.shape[1], dtype=bool)
    return jnp.where(same, 0, pairs).sum() / (pairs.size - len(teacher))
