"""MoCo v3: contrastive learning with a momentum encoder (facebookresearch/moco-v3, `moco/builder.py`)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxpart.pretraining.crops import make_views, normalize
from jaxpart.pretraining.encode import DropPath, encode
from jaxpart.pretraining.objective import Inputs, Objective, Outcome, spread


def info_nce(
    queries: Float[Array, "batch out"], keys: Float[Array, "batch out"], temperature: float
) -> Float[Array, ""]:
    """2 τ times the cross entropy of each query against all keys of the batch."""
    q, k = (
        x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (queries, keys)
    )
    likelihood = jax.nn.log_softmax(
        jnp.matmul(q, k.T, precision=jax.lax.Precision.HIGHEST) / temperature
    )
    return -2 * temperature * jnp.diagonal(likelihood).mean()


def mocov3_loss(
    predictions: Float[Array, "2 batch out"],
    keys: Float[Array, "2 batch out"],
    temperature: float = 0.2,
) -> Float[Array, ""]:
    """Each view's predictions against the other view's keys, both ways."""
    keys = jax.lax.stop_gradient(keys)
    return info_nce(predictions[0], keys[1], temperature) + info_nce(
        predictions[1], keys[0], temperature
    )


class Mocov3(Objective):
    """The student predicts the momentum encoder's projection of the other of two views."""

    has_teacher = True
    keeps_student = True

    def is_frozen(self, path: tuple[Any, ...]) -> bool:
        """A linear patch projection keeps its random weights."""
        return ("stem" in path and self.encoder.stem == "patch") or super().is_frozen(path)

    def loss(self, inputs: Inputs) -> Outcome:
        """The symmetric contrastive loss; BatchNorm sees one view at a time."""
        view_key, *drop_keys = jax.random.split(inputs.key, 3)
        pair = make_views(view_key, inputs.images, self.view("pair"), 2)
        views = [normalize(pair[:, i]) for i in range(2)]

        def projection(module: Any, view: Array, drop_path: DropPath | None = None) -> Array:
            return module.vit.projector.mlp(encode(module.vit, view, drop_path=drop_path)[:, 0])

        # One view at a time: both at once take a CPU a tenth longer.
        predictions = [
            projection(inputs.student, view, self.drop_path(key))
            for view, key in zip(views, drop_keys, strict=True)
        ]
        assert self.encoder.projector is not None
        if self.encoder.projector.predictor:
            predictions = [inputs.student.vit.predictor(projected) for projected in predictions]
        keys = jnp.stack([projection(inputs.teacher, view) for view in views])
        loss = mocov3_loss(jnp.stack(predictions), keys, self.config.objective.temperature)
        return Outcome(loss, {"spread": spread(keys[0])}, {})


METHOD = Mocov3
