"""Devices and processes: the only module that builds meshes or asks JAX for its devices.

The mesh has two axes: "data", over which batches are sharded, and "model", over which large weights can be.
Everything that enters a compiled step goes through `shard`, `replicate` or `shard_over_model`, so a program
runs unchanged on one CPU, on several GPUs, and on a pod.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Format, Layout
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, Num

from jaxpart.cpu import pages
from jaxpart.cpu.memory import memory_limit
from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.files import user_cache
from jaxpart.ring import in_ring


def start(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Connects the processes of the run, and prepares JAX: see `prepare`.

    Call it before anything else uses JAX. Without arguments the launcher is detected: Slurm (`srun`),
    Open MPI (`mpirun`) or a TPU pod; without one the process runs alone.

    Raises:
      JaxpartError: Only some of the three are given, or the other processes cannot be reached.
    """
    options = (coordinator, num_processes, process_id)
    if any(value is not None for value in options) and any(value is None for value in options):
        raise JaxpartError(
            "--coordinator=HOST:PORT, --num-processes and --process-id go together; pass all "
            "three to every process"
        )
    if coordinator is not None and not re.fullmatch(r".+:\d{1,5}", coordinator):
        raise JaxpartError(f"--coordinator={coordinator} is not HOST:PORT, such as 10.0.0.1:1234")
    prepare()
    try:
        if coordinator is not None:
            jax.distributed.initialize(coordinator, num_processes, process_id)
        elif _launched():
            jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        raise JaxpartError(
            f"the processes of the run cannot connect ({first_line(error)[:200]})"
        ) from error


def prepare() -> None:
    """Enables the compilation cache, and on a CPU keeps freed memory; may be called again."""
    if _has_only_cpu():
        pages.keep_pages()
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(user_cache() / "xla"))
        # By default programs that compile in under a second, a third of the total, are not cached.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _has_only_cpu() -> bool:
    """Whether JAX has only the CPU backend; asking for its devices would initialise it."""
    platforms = jax.config.values["jax_platforms"]
    if platforms:
        return platforms == "cpu"
    return not importlib.metadata.entry_points(group="jax_plugins") and not _has_tpu()


def _has_tpu() -> bool:
    """Whether this machine has a TPU and its library; installing jax[tpu] alone does not count."""
    chips = (*pathlib.Path("/dev").glob("accel*"), *pathlib.Path("/dev/vfio").glob("[0-9]*"))
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def _launched() -> bool:
    """Whether a launcher has started several processes as one run."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS"), os.environ.get("OMPI_COMM_WORLD_SIZE")
    on_tpu = os.environ.get("JAX_PLATFORMS", "tpu") == "tpu" and _has_tpu()
    return any(int(count or 1) > 1 for count in tasks) or on_tpu


_described: tuple[jax.Device, ...] = ()
"""Devices of another machine that programs are compiled for; empty: this machine's devices."""


@contextlib.contextmanager
def compiling_for(described: Sequence[jax.Device]) -> Iterator[None]:
    """Within this context, programs are lowered for absent devices, from `jax.experimental.topologies`.

    Arrays are only described: `shard`, `replicate` and the like return `jax.ShapeDtypeStruct`, which a
    jitted function's `lower` accepts. Nothing can be executed.
    """
    global _described
    previous, _described = _described, tuple(described)
    try:
        yield
    finally:
        _described = previous


def _devices() -> tuple[jax.Device, ...]:
    return _described or tuple(jax.devices())


def backend() -> str:
    """The backend: "cpu", "gpu" or "tpu"."""
    platform = _described[0].platform if _described else jax.default_backend()
    return "gpu" if platform in ("cuda", "rocm") else platform


def step_options() -> dict[str, bool] | None:
    """Compiler options of training steps: on GPUs, products are left to cuBLAS.

    XLA's own (Triton) kernels find no tiles for some products of CAE and of the pixel loss.
    """
    return {"xla_gpu_enable_triton_gemm": False} if backend() == "gpu" else None


def count() -> int:
    """Number of devices in all processes."""
    return len(_devices())


def memory() -> int:
    """Bytes of memory per device; on a CPU, those that the process may use."""
    if _described:
        return _HBM_BYTES[_described[0].device_kind]
    if backend() == "cpu":
        return memory_limit()
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 16 << 30)


_HBM_BYTES = {
    "TPU v4": 32 << 30,
    "TPU v5": 95 << 30,
    "TPU v5 lite": 16 << 30,
    "TPU v6 lite": 32 << 30,
    "NVIDIA H100 80GB HBM3": 80 << 30,
}


def num_processes() -> int:
    """Number of processes of the run."""
    if _described:
        return len({device.process_index for device in _described})
    return jax.process_count()


def process_index() -> int:
    """Index of this process, from 0, in mesh order, which is the order of its rows in a batch."""
    me = 0 if _described else jax.process_index()
    return list(dict.fromkeys(device.process_index for device in mesh().devices.flat)).index(me)


_ALL_AXES = ("data", "model")
"""Both axes: everything but weights is sharded over all devices."""

_model_devices = 1


def arrange(model_devices: int) -> None:
    """Sets how many devices share a weight; call it before placing arrays.

    Raises:
      JaxpartError: The devices of a process cannot be divided evenly.
    """
    global _model_devices
    local = count() // num_processes()
    if model_devices < 1 or local % model_devices:
        raise JaxpartError(
            f"config.encoder.model_devices cannot be {model_devices}, since a process has "
            f"{local} devices; give a number that divides them"
        )
    _model_devices = model_devices


def mesh() -> Mesh:
    """All devices of all processes along "data", or in groups along "model" that share weights."""
    return _mesh_of(_devices(), _model_devices)


@functools.cache
def _mesh_of(all_devices: tuple[jax.Device, ...], model_devices: int) -> Mesh:
    grid = np.asarray(in_ring(all_devices)).reshape(-1, model_devices)
    return Mesh(grid, _ALL_AXES, axis_types=(AxisType.Auto, AxisType.Auto))


def is_main() -> bool:
    """Whether this process is the one that writes results and shows progress."""
    return jax.process_index() == 0


def log_prefix() -> str:
    """Prefix of this process's messages: empty for a single process, else its index."""
    return f"[process {jax.process_index()}] " if jax.distributed.is_initialized() else ""


def _mesh(local: bool) -> Mesh:
    return mesh().local_mesh if local else mesh()


def hard_exit() -> NoReturn:
    """Exits immediately with status 2.

    A normal exit would wait for background saves, for minutes if the disk is full, and for other
    processes, which in turn wait for this one.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):
            stream.flush()
    os._exit(2)


def round_up(count: int, *, local: bool = False) -> int:
    """The smallest batch size of at least `count` that all devices (or the local ones) share evenly."""
    devices = _mesh(local).size
    return -(-count // devices) * devices


def check_batch(size: int, field: str) -> None:
    """Checks that the devices can share a training batch evenly; padding it would change the recipe.

    Raises:
      JaxpartError: The devices cannot share it evenly.
    """
    if size % count():
        raise JaxpartError(
            f"{field} is {size}, which {count()} devices cannot share evenly; give a "
            f"multiple, or fewer devices"
        )


def shard(tree: Any, *, axis: int = 0, local: bool = False) -> Any:
    """Moves batches from host to devices, sharded over "data".

    Args:
      tree: Arrays of which this process holds its share: rows of the global batch along `axis`, a
        multiple of its number of devices (see `round_up`).
      axis: The batch axis.
      local: Whether the batch belongs to this process alone and is sharded over its own devices, for
        work whose number of steps differs between processes.

    Returns:
      Global arrays; with one process, of the same shapes.
    """
    sharding = NamedSharding(_mesh(local), PartitionSpec(*[None] * axis, "data"))
    if _described:
        shares = 1 if local else num_processes()

        def describe(x: Any) -> jax.ShapeDtypeStruct:
            shape = *x.shape[:axis], x.shape[axis] * shares, *x.shape[axis + 1 :]
            return jax.ShapeDtypeStruct(shape, x.dtype, sharding=sharding)

        return jax.tree.map(describe, tree)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def shard_whole(array: np.ndarray) -> jax.Array:
    """Shards rows that every process holds in full over all devices, which divide their number."""
    return _sharded(array, PartitionSpec(_ALL_AXES))


def shard_over_model(array: np.ndarray, axis: int | None) -> jax.Array:
    """Moves a weight that every process holds in full to the devices: replicated, or sharded over "model".

    `axis` may be negative; None replicates the weight.
    """
    names: list[str | None] = [None] * array.ndim
    if axis is not None and mesh().shape["model"] > 1:
        names[axis] = "model"
        return _sharded(array, PartitionSpec(*names))
    return replicate(array)


def _sharded(array: np.ndarray, spec: PartitionSpec) -> Any:
    sharding = NamedSharding(mesh(), spec)
    if _described:
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)
    parts = sharding.addressable_devices_indices_map(array.shape)
    arrays = [jax.device_put(array[index], device) for device, index in parts.items()]
    return jax.make_array_from_single_device_arrays(array.shape, sharding, arrays)


def _is_model_sharded(x: Any) -> bool:
    sharding = x.sharding if isinstance(x, jax.Array | jax.ShapeDtypeStruct) else None
    return isinstance(sharding, NamedSharding) and "model" in sharding.spec


@functools.cache
def _exchange(sharding: NamedSharding) -> Any:
    """Reshards on the devices; newer versions of `jax.device_put` would go through the host."""
    return jax.jit(lambda x: x, out_shardings=sharding)


def replicate(tree: Any, *, local: bool = False) -> Any:
    """Replicates arrays that are equal in every process; sharded weights stay sharded.

    With `local`, only this process's devices are used, see `shard`.
    """
    sharding = NamedSharding(_mesh(local), PartitionSpec())

    def put(x: Any) -> Any:
        if _described:
            kept = x.sharding if _is_model_sharded(x) else sharding
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=kept)
        if isinstance(x, jax.Array) and x.sharding == sharding:
            return x
        if _is_model_sharded(x):
            own_sharding = NamedSharding(_mesh(local), x.sharding.spec)
            parts = [shard.data for shard in x.addressable_shards]
            return jax.make_array_from_single_device_arrays(x.shape, own_sharding, parts)
        if local and isinstance(x, jax.Array) and x.is_fully_addressable:
            return _exchange(sharding)(x)  # sharded over these devices
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(put, tree)


def put_like(array: np.ndarray, other: jax.Array) -> jax.Array:
    """Moves an array that every process holds in full to the devices of another, with its sharding."""
    return jax.make_array_from_callback(array.shape, other.sharding, lambda index: array[index])


def fetch(tree: Any) -> Any:
    """Full NumPy copies of device arrays, in every process."""
    if num_processes() == 1:
        return jax.device_get(tree)
    # Slow to import, and not needed by a single process.
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)


def my_share(items: int) -> range:
    """This process's part of a number of items; parts differ in size by at most one."""
    count, index = num_processes(), process_index()
    return range(items * index // count, items * (index + 1) // count)


def add_up(array: Num[np.ndarray, "*shape"]) -> Num[np.ndarray, "*shape"]:
    """The sum of every process's array, in its own dtype, in every process."""
    if num_processes() == 1:
        return array
    from jax.experimental import multihost_utils

    # Exchanged as bytes: JAX would truncate 64-bit values to 32.
    rows = multihost_utils.process_allgather(np.ascontiguousarray(array).view(np.uint8))
    return np.sum(np.ascontiguousarray(rows).view(array.dtype), axis=0, dtype=array.dtype)


def anywhere(mask: Bool[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
    """Elementwise logical or over all processes."""
    return add_up(np.asarray(mask, np.int32)) > 0


def wait_for_main() -> None:
    """Blocks every process until the main process gets here."""
    from_main("")


def from_main(text: str) -> str:
    """The main process's text, in every process."""
    data = np.frombuffer(text.encode() if is_main() else b"", np.uint8)
    buffer = np.zeros(add_up(np.array([len(data)])), np.uint8)
    buffer[: len(data)] = data
    return add_up(buffer).tobytes().decode()


def shard_rows(shape: tuple[int, ...], dtype: Any, read: Callable[[slice], np.ndarray]) -> Any:
    """A large array, sharded evenly by rows over "data"; read rows back with `gather_rows`.

    Args:
      shape: Shape of the full array, [lead, row, …]; the devices' shares are padded with zeros to one size.
      dtype: Its dtype.
      read: Returns a slice of its rows; each process is asked only for its own devices' rows.
    """
    shares = mesh().shape["data"]
    lead, rows, *rest = shape
    size = -(-rows // shares)
    padded = (lead, shares * size, *rest)
    # Row-major layout: otherwise a TPU would choose another one and copy the array to gather rows.
    spec = NamedSharding(mesh(), PartitionSpec(None, "data"))
    layout = Format(Layout(tuple(range(len(shape)))), spec)
    if _described:
        return jax.ShapeDtypeStruct(padded, dtype, sharding=layout)

    def share(index: Any) -> np.ndarray:
        start = index[1].start or 0
        part = read(slice(min(start, rows), min(start + size, rows)))
        missing = size - part.shape[1]
        return np.pad(part, ((0, 0), (0, missing), *[(0, 0)] * len(rest))) if missing else part

    return jax.make_array_from_callback(padded, layout, share, dtype=dtype)


def gather_rows(
    array: Num[Array, "first row *rest"], rows: Int[Array, "lead batch"], *, even: bool
) -> Num[Array, "first lead batch *rest"]:
    """Inside a compiled step: rows, along the second axis, of an array from `shard_rows`, from any device.

    Args:
      array: See `shard_rows`.
      rows: Their indices, sharded over "data" by the second axis.
      even: Whether devices share the batch evenly. If so, the result is sharded like the rows.
    """
    if mesh().shape["data"] == 1:
        return array[:, rows]
    batch_spec = PartitionSpec(None, "data") if even else PartitionSpec()

    def take(local: Array, rows: Array) -> Array:
        if even:
            rows = jax.lax.all_gather(rows, "data", axis=1, tiled=True)
        first = jax.lax.axis_index("data") * local.shape[1]
        is_local = (rows >= first) & (rows < first + local.shape[1])
        taken = local[:, jnp.clip(rows - first, 0, local.shape[1] - 1)]
        mask = is_local.reshape(1, *is_local.shape, *[1] * (local.ndim - 2))
        taken = jnp.where(mask, taken, 0)
        if even:
            return jax.lax.psum_scatter(taken, "data", scatter_dimension=2, tiled=True)
        return jax.lax.psum(taken, "data")

    result = PartitionSpec(None, None, "data") if even else PartitionSpec()
    return jax.shard_map(
        take, mesh=mesh(), in_specs=(PartitionSpec(None, "data"), batch_spec), out_specs=result
    )(array, rows)


def on_shares(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Maps `function(rows, *replicated)` over devices: each on its own rows and on replicated arrays.

    Returns:
      A function of an array from `shard_whole` and of replicated arrays; its result is sharded like the
      first.
    """
    rows, replicated = PartitionSpec(_ALL_AXES), PartitionSpec()

    def run(sharded: jax.Array, *others: jax.Array) -> jax.Array:
        specs = (rows, *[replicated] * len(others))
        mapped = jax.shard_map(function, mesh=mesh(), in_specs=specs, out_specs=rows)
        return mapped(sharded, *others)

    return run


def share_index() -> jax.Array:
    """Inside `on_shares`: index of this share, from 0."""
    return jax.lax.axis_index(_ALL_AXES)


def ring(function: Callable[[jax.Array], jax.Array], share: jax.Array) -> jax.Array:
    """Inside `on_shares`: `function` of every device's share, concatenated along the last axis.

    Shares travel around the ring, so a device holds two at a time.
    """
    shares = mesh().size
    to_next = [(i, (i + 1) % shares) for i in range(shares)]
    results = []
    for _ in range(shares):
        results.append(function(share))
        share = jax.lax.ppermute(share, _ALL_AXES, to_next) if len(results) < shares else share
    # Which share arrived when; its own inverse.
    order = (share_index() - jnp.arange(shares)) % shares
    return jnp.moveaxis(jnp.stack(results)[order], 0, -2).reshape(*results[0].shape[:-1], -1)
