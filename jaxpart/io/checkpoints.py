"""Arrays on disk. The only file that knows Orbax."""

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
from jax.typing import ArrayLike

from jaxpart import devices
from jaxpart.errors import JaxpartError
from jaxpart.io.files import CHECKSUM, checksum_of, remove_folder, remove_left


@functools.cache
def _orbax() -> Any:
    """Orbax, which is slow to import.

    Where it fails, it raises, and need not print stack traces too: neither its own nor those of the other
    reads and writes, which then end with nobody waiting for them and their event loop closed.
    """
    import orbax.checkpoint as ocp

    logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
    logging.getLogger("asyncio").addFilter(
        lambda record: "never retrieved" not in record.getMessage()
    )
    others = sys.unraisablehook

    def unraisable(what: sys.UnraisableHookArgs) -> None:
        if not str(what.exc_value).startswith(("Event loop is closed", "Encountered error while")):
            others(what)

    sys.unraisablehook = unraisable
    return ocp


def _nested(arrays: Mapping[str, ArrayLike]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = array
    return tree


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            arrays |= _flat(value, f"{prefix}{name}.")
        else:
            arrays[f"{prefix}{name}"] = value
    return arrays


def save_arrays(folder: pathlib.Path, arrays: Mapping[str, ArrayLike]) -> None:
    """Writes arrays by dotted path into a new folder, atomically."""
    ocp = _orbax()
    handlers = ocp.type_handlers
    # Nothing else writes to the arrays meanwhile: Orbax need not copy them all first.
    registry = handlers.create_type_handler_registry(
        (jax.Array, handlers.ArrayHandler()),
        (np.ndarray, handlers.NumpyHandler(deepcopy_host_arrays=False)),
    )
    # Weights hardly compress (8 %), and the buffers would cost as much memory as the weights.
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, type_handler_registry=registry)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(folder.absolute(), _nested(arrays))


def load_arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote, into host memory.

    Raises:
      JaxpartError: The folder is missing or damaged.
    """
    ocp = _orbax()

    if not folder.is_dir():
        raise JaxpartError(f"the weights {folder} are missing; convert the checkpoint again")
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            tree = checkpointer.metadata(folder.absolute()).item_metadata.tree
            arguments = _as_numpy(tree, ocp.RestoreArgs(restore_type=np.ndarray))
            restore = ocp.args.PyTreeRestore(restore_args=arguments)
            return _flat(checkpointer.restore(folder.absolute(), args=restore))
    except Exception as error:  # damaged bytes raise a dozen types
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise JaxpartError(
            f"the weights {folder} are damaged ({reason}); convert the checkpoint again"
        ) from error


def _as_numpy(tree: Any, leaf: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _as_numpy(value, leaf) for name, value in tree.items()}
    return leaf


class Checkpointer:
    """Keeps the place of a training run: the last step, saved in the background, written atomically.

    The state may be any pytree of arrays; it is read back onto the devices and shardings of a fresh
    one, whatever they were when it was written. What was best so far is part of the state where there
    is such a thing (`jaxpart.probes.outcome.Training`): heads that train together are best at epochs of
    their own, so that no one checkpoint would be the best of them all. Randomness follows from the seed
    and the step, and what was measured is in metrics.jsonl.

    Orbax does not notice a changed bit. So checksums of the values are written beside them, and what is
    read back must have them.
    """

    def __init__(self, folder: pathlib.Path, *, every_seconds: float = 60.0, keep: int = 1) -> None:
        """Writes nothing yet.

        Args:
          folder: Where checkpoints go; made when the first is written.
          every_seconds: Time between two of them.
          keep: How many of the last ones stay.
        """
        self._folder = folder.absolute()
        self._every, self._keep = every_seconds, keep
        self._saved = time.monotonic()
        self._manager: Any = None

    def is_due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() - self._saved >= self._every

    def save(self, step: int, state: Any, place: dict[str, Any]) -> None:
        """Saves in the background; the state's buffers are copied before this returns.

        Args:
          step: Number of steps taken.
          state: Arrays on the devices.
          place: JSON: where the data is, and whatever else belongs to the run.

        Raises:
          JaxpartError: The folder cannot be written.
        """
        ocp = _orbax()

        leaves = {f"{i:05d}": leaf for i, leaf in enumerate(jax.tree.leaves(state))}
        about = {"step": step, "place": place, "sums": _sums(leaves)}
        with _told(self._folder, "written", "make room, or name another --workdir"):
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
          like: A state of the same structure, shapes and dtypes, placed as the result shall be.

        Returns:
          (steps taken, state, place), or None if there is no checkpoint.

        Raises:
          JaxpartError: The checkpoint is damaged, or of another structure.
        """
        remove_left(self._folder.parent, self._folder.name)
        if not self._folder.is_dir():
            return None
        ocp = _orbax()

        with _told(self._folder, "read", "delete it to start anew"):
            manager = self._open()
            step = manager.latest_step()
            if step is None:
                return None
            leaves, structure = jax.tree.flatten(like)
            target = {
                f"{i:05d}": jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
                for i, x in enumerate(leaves)
            }
            found = manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(target), place=ocp.args.JsonRestore()
                ),
            )
            about = found.place
            if about.pop(CHECKSUM, None) != checksum_of(about) or about["step"] != step:
                raise ValueError("its position in the data was modified or has no checksum")
            if _sums(found.state) != about["sums"]:
                raise ValueError("its values were modified after they were written")
            for older in sorted(manager.all_steps())[: -self._keep]:
                manager.delete(older)  # the process was killed between writing and removing
        state = jax.tree.unflatten(structure, [found.state[name] for name in target])
        return step, state, about["place"]

    def wait(self) -> None:
        """Returns when what was saved is on the disk."""
        if self._manager is not None:
            with _told(self._folder, "written", "make room, or name another --workdir"):
                self._manager.wait_until_finished()

    def delete(self) -> None:
        """Removes all checkpoints: the run is done and its result is kept elsewhere."""
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
def _told(folder: pathlib.Path, done: str, advice: str) -> Iterator[None]:
    """Turns what Orbax raises for a bad disk or a bad checkpoint into one sentence."""
    try:
        yield
    except Exception as error:  # damaged bytes raise a dozen types
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise JaxpartError(
            f"the checkpoint {folder} cannot be {done} ({reason}); {advice}"
        ) from error
