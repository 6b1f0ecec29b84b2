"""DeiT: supervised classification, the study's baseline (facebookresearch/deit, `main.py`)."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float


def soft_cross_entropy(
    logits: Float[Array, "batch classes"], targets: Float[Array, "batch classes"]
) -> Float[Array, ""]:
    """Mean cross entropy to soft targets (timm's `SoftTargetCrossEntropy`)."""
    return -(targets * jax.nn.log_softmax(logits)).sum(axis=-1).mean()


def smooth(labels: Array, classes: int, smoothing: float) -> Float[Array, "batch classes"]:
    """One-hot labels with a share of the weight spread over all classes."""
    return jax.nn.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
