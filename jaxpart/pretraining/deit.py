"""DeiT: supervised classification, the study's baseline (facebookresearch/deit, `main.py`)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import optax

from jaxpart.pretraining import augment
from jaxpart.pretraining.crops import make_views, normalize
from jaxpart.pretraining.encode import encode
from jaxpart.pretraining.objective import Inputs, Objective, Outcome


class Deit(Objective):
    """Classification with strong augmentation; the classifier is the encoder's "projection".

    It reads the cls token, or the mean patch token if the encoder has `pooled_norm`.
    """

    def loss(self, inputs: Inputs) -> Outcome:
        """Cross entropy to smoothed, mixed labels."""
        options, vit = self.config.objective, inputs.student.vit
        view_key, augment_key, erase_key, mix_key, drop_key = jax.random.split(inputs.key, 5)
        images = make_views(view_key, inputs.images, self.view("view"))[:, 0]
        if options.rand_augment:
            draws = jax.random.uniform(augment_key, (len(images), options.rand_augment_layers, 4))
            rand_augment = functools.partial(augment.rand_augment, magnitude=options.rand_augment)
            images = jax.vmap(rand_augment)(draws, images)
        images = normalize(images)
        if options.erase:
            box_key, noise_key = jax.random.split(erase_key)
            erase = functools.partial(augment.erase, chance=options.erase)
            draws = jax.random.uniform(box_key, (len(images), 5))
            images = jax.vmap(erase)(draws, jax.random.normal(noise_key, images.shape), images)
        assert self.encoder.projector is not None
        one_hot = jax.nn.one_hot(inputs.labels, self.encoder.projector.out)
        targets = optax.smooth_labels(one_hot, options.smoothing)
        images, targets = augment.mix(
            mix_key, images, targets, mixup=options.mixup, cutmix=options.cutmix
        )
        tokens = encode(vit, images, drop_path=self.drop_path(drop_key))
        logits = vit.project(tokens)["projection"]
        correct = jnp.argmax(logits, axis=1) == jnp.argmax(targets, axis=1)
        loss = optax.softmax_cross_entropy(logits, targets).mean()
        return Outcome(loss, {"accuracy": correct.mean()}, {})


METHOD = Deit
