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
from jaxtyping import Int64


@functools.cache
def mesh() -> Mesh:
    """All devices of all processes along "data"."""
    axis_types = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((jax.device_count(), 1), ("data", "model"), axis_types=axis_types)


def is_main() -> bool:
    """Whether this process is the one that writes results and shows progress."""
    return jax.process_index() == 0


def _mesh(local: bool) -> Mesh:
    return mesh().local_mesh if local else mesh()


def round_up(count: int, *, local: bool = False) -> int:
    """The smallest batch size of at least `count` that all devices (or the local ones) share evenly."""
    devices = _mesh(local).size
    return -(-count // devices) * devices


def shard(tree: Any, *, axis: int = 0, local: bool = False) -> Any:
    """Batches from host to devices, cut over "data".

    Args:
      tree: Arrays of which this process holds its share: rows of the global batch along `axis`, a
        multiple of its number of devices (see `round_up`).
      axis: The batch axis.
      local: Whether the batch is this process's alone, cut over its own devices: for work whose
        number of steps differs between processes.

    Returns:
      Global arrays; with one process of the same shapes.
    """
    sharding = NamedSharding(_mesh(local), PartitionSpec(*[None] * axis, "data"))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def replicate(tree: Any, *, local: bool = False) -> Any:
    """Arrays that are the same in every process, whole on every device.

    Args:
      tree: Arrays.
      local: Whether they are put on this process's devices alone, see `shard`.
    """
    sharding = NamedSharding(_mesh(local), PartitionSpec())

    def put(x: Any) -> jax.Array:
        if isinstance(x, jax.Array) and x.sharding == sharding:
            return x
        if local and isinstance(x, jax.Array) and x.is_fully_addressable:
            return jax.device_put(x, sharding)  # cut over these devices: they exchange their parts
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(put, tree)


def fetch(tree: Any) -> Any:
    """Arrays from the devices, whole, as NumPy arrays in every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils  # Slow to import, and one process needs none.

    return multihost_utils.process_allgather(tree, tiled=True)


def add_up(counts: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """The sum of every process's counts, exact, in every process."""
    # They travel as they lie in memory: JAX would cut int64 to int32.
    words = np.ascontiguousarray(counts).view(np.uint32)[None]
    return fetch(words).view(np.int64).sum(axis=0)
