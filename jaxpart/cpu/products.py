"""Matrix products of tokens and kernels whose gradients need no transposed copies.

JAX transposes the kernel gradient that `dot_general` returns; XLA on a CPU then copies a whole batch of
tokens in another layout, recomputing the operations that produced them, and multiplies at half its rate
(docs/performance.md).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

_PRECISION = jax.lax.Precision.DEFAULT
"""As set in training; see `jaxpart.encoders.precision`."""

_product = functools.partial(jax.lax.dot_general, precision=_PRECISION)


@jax.custom_vjp
def _linear(
    tokens: Float[Array, "*batch channel"], kernel: Float[Array, "channel out"]
) -> Float[Array, "*batch out"]:
    return _product(tokens, kernel, (((tokens.ndim - 1,), (0,)), ((), ())))


def _forward(tokens: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _linear(tokens, kernel), (tokens, kernel)


def _backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    tokens, kernel = residuals
    rows = tokens.reshape(-1, tokens.shape[-1])
    cotangents = cotangent.reshape(-1, cotangent.shape[-1])
    token_gradient = _product(cotangents, kernel, (((1,), (1,)), ((), ())))
    return token_gradient.reshape(tokens.shape), _sum_of_products(rows, cotangents)


def _sum_of_products(
    left: Float[Array, "row channel"], right: Float[Array, "row out"]
) -> Float[Array, "channel out"]:
    """Transposed left times right, with the narrower one first: the other order takes twice as long."""
    channels, out = left.shape[1], right.shape[1]
    if channels <= out or channels % 2:
        return _product(left, right, (((0,), (0,)), ((), ())))
    swapped = _product(right, left, (((0,), (0,)), ((), ())))
    # Via three dimensions, or XLA would swap the product back.
    return swapped.reshape(out, channels // 2, 2).transpose(1, 2, 0).reshape(channels, out)


_linear.defvjp(_forward, _backward)


def _dot_general(left: Array, right: Array, dimensions: Any, **options: Any) -> Array:
    """`jax.lax.dot_general`, with this module's gradients for a plain linear layer."""
    linear = right.ndim == 2 and dimensions == (((left.ndim - 1,), (0,)), ((), ()))
    rest = {name: option for name, option in options.items() if name != "precision"}
    if linear and options.get("precision") == _PRECISION and set(rest.values()) <= {None}:
        return _linear(left, right)
    return jax.lax.dot_general(left, right, dimensions, **options)


def train_products(module: nnx.Module) -> None:
    """Makes a module's linear layers use these products."""
    module.set_attributes(dot_general=_dot_general, raise_if_not_found=False)
