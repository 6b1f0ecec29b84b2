"""Checkpoints. The only file that uses Orbax."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.typing import ArrayLike

from jaxpart import devices
from jaxpart.errors import JaxpartError
from jaxpart.io.files import CHECKSUM, checksum_of, remove_folder, remove_left


@functools.cache
def _orbax() -> Any:
    """Orbax, imported late since it is slow.

    Its errors are raised, so this silences the stack traces that it also logs: its own, and those of the
    other pending reads and writes, which end without a waiter or with a closed event loop.
    """
    import orbax.checkpoint as ocp

    logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
    logging.getLogger("asyncio").addFilter(
        lambda record: "never retrieved" not in record.getMessage()
    )
    original = sys.unraisablehook

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        if not str(args.exc_value).startswith(("Event loop is closed", "Encountered error while")):
            original(args)

    sys.unraisablehook = unraisable
    return ocp


def save_arrays(folder: pathlib.Path, arrays: Mapping[str, ArrayLike]) -> None:
    """Writes arrays by dotted path into a new folder, atomically; other processes are not waited for."""
    ocp = _orbax()
    handlers = ocp.type_handlers
    # Nothing else writes to the arrays meanwhile, so Orbax need not copy them first.
    registry = handlers.create_type_handler_registry(
        (jax.Array, handlers.ArrayHandler()),
        (np.ndarray, handlers.NumpyHandler(deepcopy_host_arrays=False)),
    )
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}"
    )
    # Weights hardly compress (8 %), and the buffers take as much memory as the weights.
    handler = ocp.PyTreeCheckpointHandler(
        use_compression=False, type_handler_registry=registry, multiprocessing_options=alone
    )
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(folder.absolute(), traverse_util.unflatten_dict(arrays, sep="."))


def load_arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads arrays written by `save_arrays` into host memory.

    Raises:
      JaxpartError: The folder is missing or damaged.
    """
    ocp = _orbax()

    if not folder.is_dir():
        raise JaxpartError(f"the weights {folder} are missing; convert the checkpoint again")
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            tree = checkpointer.metadata(folder.absolute()).item_metadata.tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            restore = ocp.args.PyTreeRestore(restore_args=as_numpy)
            arrays = checkpointer.restore(folder.absolute(), args=restore)
            return traverse_util.flatten_dict(arrays, sep=".")
    except Exception as error:  # damaged bytes raise a dozen types
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise JaxpartError(
            f"the weights {folder} are damaged ({reason}); convert the checkpoint again"
        ) from error


class Checkpointer:
    """Saves the last state of a training run, atomically and in the background.

    The state may be any pytree of arrays; it is restored to the devices and shardings of a fresh state.
    Best weights so far, if any, are part of the state (`jaxpart.probes.outcome.Training`): heads that train
    together have different best epochs, so no single checkpoint is best for all. Randomness depends on the
    seed and the step only, and measurements are in metrics.jsonl.

    Orbax does not notice flipped bits, so we save checksums of the values and verify them on reading.
    """

    def __init__(self, folder: pathlib.Path, *, every_seconds: float = 60.0, keep: int = 1) -> None:
        """Writes nothing yet.

        Args:
          folder: Folder for checkpoints, created with the first.
          every_seconds: Time between two checkpoints.
          keep: Number of checkpoints to keep.
        """
        self._folder = folder.absolute()
        self._every, self._keep = every_seconds, keep
        self._saved = time.monotonic()
        self._manager: Any = None

    def is_due(self) -> bool:
        """Whether the next checkpoint is due."""
        return time.monotonic() - self._saved >= self._every

    def save(self, step: int, state: Any, place: dict[str, Any]) -> None:
        """Saves in the background; the state's buffers are copied before this returns.

        Args:
          step: Number of steps taken.
          state: Arrays on the devices.
          place: JSON: the position in the data, and other state of the run.

        Raises:
          JaxpartError: The folder cannot be written.
        """
        ocp = _orbax()

        leaves = {f"{i:05d}": leaf for i, leaf in enumerate(jax.tree.leaves(state))}
        about = {"step": step, "place": place, "sums": _sums(leaves)}
        with _orbax_errors(self._folder, "written", "make room, or name another --workdir"):
            self._open().save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(leaves),
                    place=ocp.args.JsonSave({**about, CHECKSUM: checksum_of(about)}),
                ),
            )
        self._saved = time.monotonic()

    def restore(self, like: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Reads the last checkpoint.

        Args:
          like: A state of the same structure, shapes, dtypes and shardings as the result.

        Returns:
          (steps taken, state, place), or None if there is no checkpoint.

        Raises:
          JaxpartError: The checkpoint is damaged, or of another structure.
        """
        remove_left(self._folder.parent, self._folder.name)
        if not self._folder.is_dir():
            return None
        ocp = _orbax()

        with _orbax_errors(self._folder, "read", "delete it to start anew"):
            manager = self._open()
            step = manager.latest_step()
            if step is None:
                return None
            leaves, structure = jax.tree.flatten(like)
            target = {
                f"{i:05d}": jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
                for i, x in enumerate(leaves)
            }
            restored = manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(target), place=ocp.args.JsonRestore()
                ),
            )
            about = restored.place
            if about.pop(CHECKSUM, None) != checksum_of(about) or about["step"] != step:
                raise ValueError("its position in the data was modified or has no checksum")
            if _sums(restored.state) != about["sums"]:
                raise ValueError("its values were modified after they were written")
            for older in sorted(manager.all_steps())[: -self._keep]:
                manager.delete(older)  # the process was killed between writing and removing
        state = jax.tree.unflatten(structure, [restored.state[name] for name in target])
        return step, state, about["place"]

    def wait(self) -> None:
        """Waits until the last checkpoint is on the disk."""
        if self._manager is not None:
            with _orbax_errors(self._folder, "written", "make room, or name another --workdir"):
                self._manager.wait_until_finished()

    def delete(self) -> None:
        """Removes all checkpoints, after the run."""
        if self._manager is not None:
            self.wait()
            self._manager.close()
            self._manager = None
        remove_folder(self._folder)

    def _open(self) -> Any:
        ocp = _orbax()

        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=self._keep, create=True, cleanup_tmp_directories=True
            )
            self._manager = ocp.CheckpointManager(self._folder, options=options)
        return self._manager


def _sums(leaves: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of each array's dtype, shape and values."""
    sums = {}
    for name, leaf in leaves.items():
        array = np.ascontiguousarray(devices.fetch(leaf))
        digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
        sums[name] = digest.hexdigest()
    return sums


@contextlib.contextmanager
def _orbax_errors(folder: pathlib.Path, done: str, advice: str) -> Iterator[None]:
    """Turns Orbax's exceptions into a `JaxpartError`."""
    try:
        yield
    except Exception as error:  # damaged bytes raise a dozen types
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise JaxpartError(
            f"the checkpoint {folder} cannot be {done} ({reason}); {advice}"
        ) from error
