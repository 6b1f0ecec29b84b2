"""MoCo v3: contrast of two views with a moving average (facebookresearch/moco-v3, `moco/builder.py`)."""

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
    """2 τ times the cross entropy of each query among all keys of the batch."""
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
    """Each view's prediction against the other view's keys, both ways.

    Args:
      predictions: Of the encoder, after the predictor, for the first and the second view.
      keys: Projections of the moving average.
      temperature: τ.
    """
    keys = jax.lax.stop_gradient(keys)
    return info_nce(predictions[0], keys[1], temperature) + info_nce(
        predictions[1], keys[0], temperature
    )


class Mocov3(Objective):
    """Two views; the student predicts the moving average's projection of the other view."""

    has_teacher = True
    keeps_student = True

    def is_frozen(self, path: tuple[Any, ...]) -> bool:
        """A linear patch projection keeps its random weights."""
        return ("stem" in path and self.encoder.stem == "patch") or super().is_frozen(path)

    def loss(self, inputs: Inputs) -> Outcome:
        """The symmetric contrastive loss; BatchNorm sees one view at a time."""
        pair, *drops = jax.random.split(inputs.key, 3)
        views = make_views(pair, inputs.images, self.view("pair"), 2)
        both = [normalize(views[:, i]) for i in range(2)]

        def projection(module: Any, view: Array, drop_path: DropPath | None = None) -> Array:
            return module.vit.projector.mlp(encode(module.vit, view, drop_path=drop_path)[:, 0])

        # One view after the other: a CPU takes a tenth longer for both at once.
        mine = [
            projection(inputs.student, view, self.drop_path(drop))
            for view, drop in zip(both, drops, strict=True)
        ]
        assert self.encoder.projector is not None
        if self.encoder.projector.predictor:
            mine = [inputs.student.vit.predictor(found) for found in mine]
        keys = jnp.stack([projection(inputs.teacher, view) for view in both])
        loss = mocov3_loss(jnp.stack(mine), keys, self.config.objective.temperature)
        return Outcome(loss, {"spread": spread(keys[0])}, {})


METHOD = Mocov3
