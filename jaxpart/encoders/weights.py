"""A module's weights as a mapping from dotted paths to matrices, the form in which they are stored.

In a module the projection to queries, keys and values has an axis for these three and one for heads, and
a gated MLP's first layer one for gate and value, so that they can be sharded along an axis. Checkpoints,
ours and others', store each as one matrix whose columns are in this order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

_SPLIT = re.compile(r"(.+\.)?(attention\.qkv|mlp\.fc1)\.(kernel|bias)")


def variables_of(state: nnx.State) -> dict[str, nnx.Variable]:
    """The variables of a module's state by dotted path."""
    return {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}


def matrix_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape on disk of a weight that has `shape` in its module."""
    if not _SPLIT.fullmatch(path):
        return shape
    return (shape[0], math.prod(shape[1:])) if path.endswith("kernel") else (math.prod(shape),)


def matrix_shapes(module: nnx.Module) -> dict[str, tuple[int, ...]]:
    """Shape on disk of every weight of a module, which may be abstract."""
    variables = variables_of(nnx.state(module))
    return {path: matrix_shape(path, leaf.shape) for path, leaf in variables.items()}


def arrays_of(module: nnx.Module) -> dict[str, np.ndarray]:
    """All weights of a module, float32, in their shapes on disk."""
    return {
        path: np.asarray(leaf[...], np.float32).reshape(matrix_shape(path, leaf.shape))
        for path, leaf in variables_of(nnx.state(module)).items()
    }


def with_arrays(
    module: nnx.Module, arrays: Mapping[str, ArrayLike], put: Callable[[str, np.ndarray], ArrayLike]
) -> Any:
    """A module of the same structure with other weights, one for each of its own.

    Args:
      module: Any module, possibly abstract.
      arrays: The weights by dotted path, of any float dtype, in their shapes on disk.
      put: Called with a path and a weight, float32 and in the module's shape; moves it to a device.
    """
    graph, state = nnx.split(module)
    state = jax.tree.map(lambda leaf: leaf, state)  # new variables: `module` keeps its weights
    for path, leaf in variables_of(state).items():
        leaf.set_value(put(path, np.asarray(arrays[path], np.float32).reshape(leaf.shape)))
    return nnx.merge(graph, state)
