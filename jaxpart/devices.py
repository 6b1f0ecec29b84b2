"""Devices and processes. The only file that knows meshes.

A mesh has two axes: "data", over which batches are cut, and "model", over which large weights may be.
Everything that enters a compiled step is put there by `shard`, `replicate` or `cut_over_model`; a
program then runs unchanged on one CPU, on several GPUs, and on a pod.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Num

from jaxpart.cpu import pages
from jaxpart.errors import JaxpartError


def start(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins the other processes of the run; turns on the compilation cache; on a CPU keeps memory.

    Before anything else is asked of JAX. Without arguments, the launcher's word is taken: Slurm
    (`srun`), Open MPI (`mpirun`) or a TPU pod; without one the process is alone.

    Args:
      coordinator: "HOST:PORT" of process 0.
      num_processes: How many there are.
      process_id: This one, from 0.

    Raises:
      JaxpartError: Some of the three are given and some not, or the others cannot be reached.
    """
    given = (coordinator, num_processes, process_id)
    if any(value is not None for value in given) and any(value is None for value in given):
        raise JaxpartError(
            "--coordinator=HOST:PORT, --num-processes and --process-id belong together; give all "
            "three to every process"
        )
    if _has_only_cpu():
        pages.keep_pages()
    try:
        if coordinator is not None:
            jax.distributed.initialize(coordinator, num_processes, process_id)
        elif _launched():
            jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise JaxpartError(f"the processes of the run cannot meet ({reason})") from error
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(user_cache() / "xla"))
        # By default programs of less than a second are not kept: a third of a run's compilation.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _has_only_cpu() -> bool:
    """Whether JAX can but compute on the CPU; without starting it, as asking for its devices does."""
    platforms = jax.config.values["jax_platforms"]
    if platforms:
        return platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None


def _launched() -> bool:
    """Whether a launcher has started several processes that belong together."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS"), os.environ.get("OMPI_COMM_WORLD_SIZE")
    on_tpu = importlib.util.find_spec("libtpu") and os.environ.get("JAX_PLATFORMS", "tpu") == "tpu"
    return any(int(count or 1) > 1 for count in tasks) or bool(on_tpu)


def user_cache() -> pathlib.Path:
    """jaxpart's folder among the user's caches; it may not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "jaxpart"


_EVERY = ("data", "model")
"""Both axes: what holds no weights is cut over all devices."""

_model_devices = 1


def arrange(model_devices: int) -> None:
    """Says how many devices share a weight; before anything is put on them.

    Raises:
      JaxpartError: The devices of a process cannot be grouped so.
    """
    global _model_devices
    if model_devices < 1 or jax.local_device_count() % model_devices:
        raise JaxpartError(
            f"config.encoder.model_devices cannot be {model_devices} where a process has "
            f"{jax.local_device_count()} devices; give a number that divides them"
        )
    _model_devices = model_devices


def mesh() -> Mesh:
    """All devices of all processes along "data", or in groups that share weights along "model"."""
    return _mesh_of(_model_devices)


@functools.cache
def _mesh_of(model_devices: int) -> Mesh:
    # In the order of processes, whatever the topology: a process's rows of a batch lie together, and
    # so do the devices that share a weight.
    order = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    grid = np.asarray(order).reshape(-1, model_devices)
    return Mesh(grid, _EVERY, axis_types=(AxisType.Auto, AxisType.Auto))


def is_main() -> bool:
    """Whether this process is the one that writes results and shows progress."""
    return jax.process_index() == 0


def log_prefix() -> str:
    """What this process's lines begin with: nothing if it is alone, else which one it is."""
    return f"[process {jax.process_index()}] " if jax.distributed.is_initialized() else ""


def _mesh(local: bool) -> Mesh:
    return mesh().local_mesh if local else mesh()


def leave(status: int) -> NoReturn:
    """Ends this process at once, with an exit status.

    Threads that save in the background would be waited for, for minutes where the disk is full, and so
    would other processes, which wait for this one.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def round_up(count: int, *, local: bool = False) -> int:
    """The smallest batch size of at least `count` that all devices (or the local ones) share evenly."""
    devices = _mesh(local).size
    return -(-count // devices) * devices


def check_batch(size: int, field: str) -> None:
    """Refuses a batch of training images that the devices cannot share: a larger one is another recipe.

    Args:
      size: Images of a step over all processes.
      field: Where its size is given, "config.batch_size".

    Raises:
      JaxpartError: The devices cannot share it evenly.
    """
    if size % jax.device_count():
        raise JaxpartError(
            f"{field} is {size}, which {jax.device_count()} devices cannot share evenly; give a "
            f"multiple, or fewer devices"
        )


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


def shard_whole(array: np.ndarray) -> jax.Array:
    """An array that every process holds whole, to the devices and cut over all of them by rows.

    Args:
      array: Its rows are a multiple of the number of devices.
    """
    return _cut(array, PartitionSpec(_EVERY))


def cut_over_model(array: np.ndarray, axis: int | None) -> jax.Array:
    """A weight that every process holds whole, to the devices: whole on each, or cut over "model".

    Args:
      array: The weight.
      axis: Along which it is cut; from the end if it is negative; None: not at all.
    """
    names: list[str | None] = [None] * array.ndim
    if axis is not None and mesh().shape["model"] > 1:
        names[axis] = "model"
        return _cut(array, PartitionSpec(*names))
    return replicate(array)


def _cut(array: np.ndarray, spec: PartitionSpec) -> jax.Array:
    sharding = NamedSharding(mesh(), spec)
    parts = sharding.addressable_devices_indices_map(array.shape)
    arrays = [jax.device_put(array[index], device) for device, index in parts.items()]
    return jax.make_array_from_single_device_arrays(array.shape, sharding, arrays)


def _is_cut_over_model(x: Any) -> bool:
    sharding = x.sharding if isinstance(x, jax.Array) else None
    return isinstance(sharding, NamedSharding) and "model" in sharding.spec


@functools.cache
def _exchange(sharding: NamedSharding) -> Any:
    """Has devices exchange their parts; newer versions of `jax.device_put` do so by way of the host."""
    return jax.jit(lambda x: x, out_shardings=sharding)


def replicate(tree: Any, *, local: bool = False) -> Any:
    """Arrays that are the same in every process, whole on every device; weights that are cut stay so.

    Args:
      tree: Arrays.
      local: Whether they are put on this process's devices alone, see `shard`.
    """
    sharding = NamedSharding(_mesh(local), PartitionSpec())

    def put(x: Any) -> jax.Array:
        if isinstance(x, jax.Array) and x.sharding == sharding:
            return x
        if _is_cut_over_model(x):
            there = NamedSharding(_mesh(local), x.sharding.spec)
            parts = [shard.data for shard in x.addressable_shards]
            return jax.make_array_from_single_device_arrays(x.shape, there, parts)
        if local and isinstance(x, jax.Array) and x.is_fully_addressable:
            return _exchange(sharding)(x)  # cut over these devices
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(put, tree)


def fetch(tree: Any) -> Any:
    """Arrays from the devices, whole, as NumPy arrays in every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils  # Slow to import, and one process needs none.

    return multihost_utils.process_allgather(tree, tiled=True)


def my_share(items: int) -> range:
    """Which of so many items this process works on; processes' shares differ by one at most."""
    count, index = jax.process_count(), jax.process_index()
    return range(items * index // count, items * (index + 1) // count)


def add_up(array: Num[np.ndarray, "*shape"]) -> Num[np.ndarray, "*shape"]:
    """The sum of every process's array, in its own dtype, in every process."""
    if jax.process_count() == 1:
        return array
    from jax.experimental import multihost_utils

    # They travel as bytes: JAX would cut 64-bit values to 32.
    rows = multihost_utils.process_allgather(np.ascontiguousarray(array).view(np.uint8))
    return np.sum(np.ascontiguousarray(rows).view(array.dtype), axis=0, dtype=array.dtype)


def anywhere(mask: Bool[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
    """Where any process has True: what they decide together."""
    return add_up(np.asarray(mask, np.int32)) > 0


def from_main(text: str) -> str:
    """The main process's text, in every process."""
    letters = np.frombuffer(text.encode() if is_main() else b"", np.uint8)
    line = np.zeros(add_up(np.array([len(letters)])), np.uint8)
    line[: len(letters)] = letters
    return add_up(line).tobytes().decode()


def on_shares(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`function(rows, *whole)` run by every device on its own rows, and on arrays that all hold whole.

    Returns:
      A function of the array cut by `shard_whole`, and of replicated ones; its result is cut like the
      first.
    """
    rows, whole = PartitionSpec(_EVERY), PartitionSpec()

    def run(cut: jax.Array, *others: jax.Array) -> jax.Array:
        specs = (rows, *[whole] * len(others))
        return jax.shard_map(function, mesh=mesh(), in_specs=specs, out_specs=rows)(cut, *others)

    return run


def place() -> jax.Array:
    """Inside `on_shares`: which share this is, from 0."""
    return jax.lax.axis_index(_EVERY)


def ring(function: Callable[[jax.Array], jax.Array], share: jax.Array) -> jax.Array:
    """Inside `on_shares`: `function` of every device's share, side by side in the last axis.

    Shares go round from device to device, so that two at a time are in a device's memory.
    """
    count = mesh().size
    onward = [(i, (i + 1) % count) for i in range(count)]
    results = []
    for _ in range(count):
        results.append(function(share))
        share = jax.lax.ppermute(share, _EVERY, onward) if len(results) < count else share
    order = (place() - jnp.arange(count)) % count  # whose share came when; its own inverse
    return jnp.moveaxis(jnp.stack(results)[order], 0, -2).reshape(*results[0].shape[:-1], -1)
