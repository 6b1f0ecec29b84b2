"""DeiT: supervised classification, the study's baseline (facebookresearch/deit, `main.py`)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpart.pretraining import augment
from jaxpart.pretraining.crops import make_views, normalize
from jaxpart.pretraining.encode import encode
from jaxpart.pretraining.objective import Inputs, Objective, Outcome


def soft_cross_entropy(
    logits: Float[Array, "batch classes"], targets: Float[Array, "batch classes"]
) -> Float[Array, ""]:
    """Mean cross entropy to soft targets (timm's `SoftTargetCrossEntropy`)."""
    return -(targets * jax.nn.log_softmax(logits)).sum(axis=-1).mean()


def smooth(labels: Array, classes: int, smoothing: float) -> Float[Array, "batch classes"]:
    """One-hot labels with a share of the weight spread over all classes."""
    return jax.nn.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes


class Deit(Objective):
    """Classification with strong augmentation; the classifier is the encoder's "projection"."""

    def loss(self, inputs: Inputs) -> Outcome:
        """Cross entropy to smoothed, mixed labels."""
        given, vit = self.config.objective, inputs.student.vit
        view, randomly, erased, mixed, drop = jax.random.split(inputs.key, 5)
        images = make_views(view, inputs.images, self.view("view"))[:, 0]
        if given.rand_augment:
            draws = jax.random.uniform(randomly, (len(images), given.rand_augment_layers, 4))
            change = functools.partial(augment.rand_augment, magnitude=given.rand_augment)
            images = jax.vmap(change)(draws, images)
        images = normalize(images)
        if given.erase:
            box_key, noise = jax.random.split(erased)
            erase = functools.partial(augment.erase, chance=given.erase)
            draws = jax.random.uniform(box_key, (len(images), 5))
            images = jax.vmap(erase)(draws, jax.random.normal(noise, images.shape), images)
        assert self.encoder.projector is not None
        targets = smooth(inputs.labels, self.encoder.projector.out, given.smoothing)
        images, targets = augment.mix(
            mixed, images, targets, mixup=given.mixup, cutmix=given.cutmix
        )
        tokens = encode(vit, images, drop_path=self.drop_path(drop))
        head, patches = tokens[:, 0], tokens[:, 1:]
        if self.encoder.pooled_norm:
            head = vit.pooled_norm(patches.mean(axis=1))
        logits = vit.projector([head], patches)["projection"]
        right = jnp.argmax(logits, axis=1) == jnp.argmax(targets, axis=1)
        return Outcome(soft_cross_entropy(logits, targets), {"accuracy": right.mean()}, {})


METHOD = Deit
