"""Devices and processes. The only file that knows meshes.

A mesh has two axes: "data", over which batches are cut, and "model", over which large weights may be.
Everything that enters a compiled step is put there by `shard` or `replicate`; a program then runs
unchanged on one CPU, on several GPUs, and on a pod.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


@functools.cache
def mesh() -> Mesh:
    """All devices of all processes along "data"."""
    axis_types = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((jax.device_count(), 1), ("data", "model"), axis_types=axis_types)


def is_main() -> bool:
    """Whether this process is the one that writes results and shows progress."""
    return jax.process_index() == 0


def round_up(count: int) -> int:
    """The smallest global batch size of at least `count` that all devices share evenly."""
    return -(-count // jax.device_count()) * jax.device_count()


def shard(tree: Any, *, axis: int = 0) -> Any:
    """Batches from host to devices, cut over "data".

    Args:
      tree: Arrays of which this process holds its share: rows of the global batch along `axis`, a
        multiple of its number of devices (see `round_up`).
      axis: The batch axis.

    Returns:
      Global arrays; with one process of the same shapes.
    """
    sharding = NamedSharding(mesh(), PartitionSpec(*[None] * axis, "data"))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def replicate(tree: Any) -> Any:
    """Arrays that are the same in every process, whole on every device."""
    sharding = NamedSharding(mesh(), PartitionSpec())

    def put(x: Any) -> jax.Array:
        if isinstance(x, jax.Array) and x.sharding == sharding:
            return x
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(put, tree)


def fetch(tree: Any) -> Any:
    """Arrays from the devices, whole, as NumPy arrays in every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils  # Slow to import, and one process needs none.

    return multihost_utils.process_allgather(tree, tiled=True)
