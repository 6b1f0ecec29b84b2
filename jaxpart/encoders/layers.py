"""Layers of blocks and projectors: norms and activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import jax
from flax import nnx
from jaxtyping import Array

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "silu"]


def activation(name: Activation) -> Callable[[Array], Array]:
    """The activation function with this name."""
    return {
        # PyTorch's formula; jax.nn.gelu uses erfc, which takes three times as long on a CPU.
        "gelu": lambda x: 0.5 * x * (1 + jax.lax.erf(x * math.sqrt(0.5))),
        "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
        "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
        "silu": jax.nn.silu,
    }[name]


def make_norm(
    kind: Literal["layer", "rms"], width: int, epsilon: float, rngs: nnx.Rngs
) -> nnx.LayerNorm | nnx.RMSNorm:
    """A norm over the channels of a token."""
    if kind == "rms":
        return nnx.RMSNorm(width, epsilon=epsilon, rngs=rngs)
    # Flax's fast variance, E[x²] − E[x]², suffers from cancellation if the mean is large.
    return nnx.LayerNorm(width, epsilon=epsilon, use_fast_variance=False, rngs=rngs)
