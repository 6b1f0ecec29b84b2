"""Precision of an encoder's matrix products. Everything else (residual stream, norms, softmax) is float32.

- float32-highest: the reference, float32 on every device.
- float32: JAX's default: float32 on a CPU, lower on an accelerator (TF32 on GPUs, bfloat16 on TPUs).
- bfloat16: operands rounded to bfloat16, products accumulated in float32.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxpart.errors import JaxpartError

Precision = Literal["float32-highest", "float32", "bfloat16"]
REFERENCE: Precision = "float32-highest"


def check_precision(name: str) -> None:
    """Raises `JaxpartError` for an unknown precision."""
    if name not in get_args(Precision):
        raise JaxpartError(
            f"an encoder's precision cannot be {name!r}; choose from {', '.join(get_args(Precision))}"
        )


def set_precision(model: nnx.Module, name: Precision) -> None:
    """Sets the precision of every matrix product and convolution of a module.

    JAX's own setting then has no effect, wherever the module or a part of it is called. Modules with
    products of their own have an attribute `precision`, and `dot_general` to support bfloat16.
    """
    precision = jax.lax.Precision.HIGHEST if name == REFERENCE else jax.lax.Precision.DEFAULT
    model.set_attributes(precision=precision, raise_if_not_found=False)  # iBOT's decoder has none
    if name == "bfloat16":
        model.set_attributes(dot_general=_rounded_dot_general)
        model.set_attributes(conv_general_dilated=_rounded_convolution, raise_if_not_found=False)


# Operands are cast here, since CPUs treat `DotAlgorithmPreset.BF16_BF16_F32` as float32.
def _rounded_dot_general(left: Array, right: Array, *dimensions: Any, **options: Any) -> Array:
    left, right = left.astype(jnp.bfloat16), right.astype(jnp.bfloat16)
    return jax.lax.dot_general(
        left, right, *dimensions, **options | {"preferred_element_type": jnp.float32}
    )


def _rounded_convolution(left: Array, right: Array, *shape: Any, **options: Any) -> Array:
    left, right = left.astype(jnp.bfloat16), right.astype(jnp.bfloat16)
    return jax.lax.conv_general_dilated(
        left, right, *shape, **options | {"preferred_element_type": jnp.float32}
    )
