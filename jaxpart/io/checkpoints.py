"""Checkpoints. The only file that uses Orbax."""

from __future__ import annotations

import concurrent.futures
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
from jaxpart.errors import JaxpartError, first_line, listed
from jaxpart.io.files import (
    folder_moved_into_place,
    on_this_machine,
    parse_json,
    remove_folder,
    remove_left,
    sealed_json,
)

_STATE, _PLACE = "state", "place.json"
_WRITE_ADVICE = "make room, or name another --workdir"


@functools.cache
def _orbax() -> Any:
    """Orbax, imported late since it is slow.

    Its errors are raised, so this silences the stack traces that it logs as well: its own, and those of
    other pending reads and writes, which end unawaited or after their event loop was closed.
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
    """Writes arrays by dotted path into a new folder, atomically, without waiting for other processes."""
    ocp = _orbax()
    handlers = ocp.type_handlers
    # Nothing else writes to the arrays meanwhile, so Orbax need not copy them first.
    registry = handlers.create_type_handler_registry(
        (jax.Array, handlers.ArrayHandler()),
        (np.ndarray, handlers.NumpyHandler(deepcopy_host_arrays=False)),
    )
    process = jax.process_index()
    this_process_only = ocp.options.MultiprocessingOptions(
        primary_host=process,
        active_processes={process},
        barrier_sync_key_prefix=f"process_{process}",
    )
    # Weights hardly compress (8 %), and the buffers take as much memory as the weights.
    handler = ocp.PyTreeCheckpointHandler(
        use_compression=False,
        type_handler_registry=registry,
        multiprocessing_options=this_process_only,
    )
    with ocp.Checkpointer(handler, multiprocessing_options=this_process_only) as checkpointer:
        checkpointer.save(folder.absolute(), traverse_util.unflatten_dict(arrays, sep="."))


def load_arrays(
    folder: pathlib.Path, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Reads arrays written by `save_arrays` into host memory.

    The shapes, by dotted path, are compared before any array is read.

    Raises:
      JaxpartError: The folder is missing or damaged, or its arrays have other shapes.
    """
    if not folder.is_dir():
        raise JaxpartError(f"the weights {folder} are missing; convert the checkpoint again")
    try:
        with on_this_machine(folder) as copy:
            return _read_arrays(copy, shapes)
    except Exception as error:  # damaged bytes raise a dozen types
        raise JaxpartError(
            f"the weights {folder} are damaged ({_reason(error)}); convert the checkpoint again"
        ) from error


def _read_arrays(
    folder: pathlib.Path, shapes: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, np.ndarray]:
    ocp = _orbax()

    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(folder.absolute()).item_metadata.tree
        if shapes is not None:
            stored = {k: v.shape for k, v in traverse_util.flatten_dict(tree, sep=".").items()}
            names = stored.keys() | shapes.keys()
            wrong = [name for name in sorted(names) if stored.get(name) != shapes.get(name)]
            if wrong:
                raise ValueError(f"they do not fit the architecture at {listed(wrong, 3)}")
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        restore = ocp.args.PyTreeRestore(restore_args=as_numpy)
        arrays = checkpointer.restore(folder.absolute(), args=restore)
        return traverse_util.flatten_dict(arrays, sep=".")


class Checkpointer:
    """Saves the last state of a training run, atomically and in the background.

    The state may be any pytree of arrays; it is restored to the devices and shardings of a fresh state.
    Best weights so far, if any, are part of the state (`jaxpart.probes.outcome.Training`): heads that train
    together have different best epochs, so no single checkpoint is best for all. Randomness depends on the
    seed and the step only, and measurements are in metrics.jsonl.

    The main process writes, on a disk or in a bucket, and all processes read. Orbax does not notice flipped
    bits, so we save checksums of the values and verify them on reading.
    """

    def __init__(self, folder: pathlib.Path, *, every_seconds: float = 60.0) -> None:
        """Writes nothing yet."""
        self._folder = folder.absolute()
        self._every, self._saved = every_seconds, time.monotonic()
        self._writer = concurrent.futures.ThreadPoolExecutor(1)
        self._written: concurrent.futures.Future[None] | None = None

    def is_due(self) -> bool:
        """Whether the next checkpoint is due."""
        return time.monotonic() - self._saved >= self._every

    def save(self, step: int, state: Any, place: dict[str, Any]) -> None:
        """Saves in the background, from a copy of the state; `place` becomes JSON.

        Raises:
          JaxpartError: The folder cannot be written.
        """
        self.wait()
        leaves = jax.tree.leaves(state)
        arrays = {f"{i:05d}": np.array(devices.fetch(leaf)) for i, leaf in enumerate(leaves)}
        if devices.is_main():
            with self._as_jaxpart_error("written", _WRITE_ADVICE):
                self._folder.mkdir(parents=True, exist_ok=True)
            self._written = self._writer.submit(self._write, step, arrays, place)
        self._saved = time.monotonic()

    def _write(self, step: int, arrays: dict[str, np.ndarray], place: dict[str, Any]) -> None:
        about = {"step": step, "place": place, "sums": _sums(arrays)}
        with folder_moved_into_place(self._folder / str(step)) as folder:
            save_arrays(folder / _STATE, arrays)
            (folder / _PLACE).write_text(sealed_json(about), encoding="utf-8")
        self._remove_older()

    def restore(self, like: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Reads the last checkpoint, of the structure, shapes, dtypes and shardings of another state.

        Returns:
          (steps taken, state, place), or None if there is no checkpoint.

        Raises:
          JaxpartError: The checkpoint is damaged, or has a different structure.
        """
        with self._as_jaxpart_error("read", "delete it to start over"):
            if (step := self._last_step()) is None:
                return None
            with on_this_machine(self._folder / str(step)) as folder:
                about = parse_json((folder / _PLACE).read_bytes())
                arrays = _read_arrays(folder / _STATE)
            if about["step"] != step or _sums(arrays) != about["sums"]:
                raise ValueError("it was modified after it was written")
            leaves, structure = jax.tree.flatten(like)
            restored = [arrays[name] for name in sorted(arrays)]
            if [(x.shape, x.dtype) for x in restored] != [(x.shape, x.dtype) for x in leaves]:
                raise ValueError("it belongs to a different training run")
            placed = [devices.put_like(*pair) for pair in zip(restored, leaves, strict=True)]
        return step, jax.tree.unflatten(structure, placed), about["place"]

    def _last_step(self) -> int | None:
        """The step of the last checkpoint, in every process; removes leftovers of killed processes."""
        last = ""
        if devices.is_main():
            remove_left(self._folder.parent, self._folder.name)
            remove_left(self._folder)
            self._remove_older()
            last = str(max(self._steps(), default=""))
        last = devices.from_main(last)
        return int(last) if last else None

    def _remove_older(self) -> None:
        for step in self._steps()[:-1]:
            remove_folder(self._folder / str(step))

    def _steps(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdigit())

    def wait(self) -> None:
        """Waits until the last checkpoint is written. Raises `JaxpartError` if it cannot be."""
        if self._written is not None:
            written, self._written = self._written, None
            with self._as_jaxpart_error("written", _WRITE_ADVICE):
                written.result()

    def delete(self) -> None:
        """Deletes all checkpoints once the run is finished."""
        self.wait()
        if devices.is_main():
            remove_folder(self._folder)

    @contextlib.contextmanager
    def _as_jaxpart_error(self, done: str, advice: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # damaged bytes raise a dozen types
            raise JaxpartError(
                f"the checkpoint {self._folder} cannot be {done} ({_reason(error)}); {advice}"
            ) from error


def _sums(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """SHA-256 of each array's dtype, shape and values."""
    sums = {}
    for name, array in arrays.items():
        digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        sums[name] = digest.hexdigest()
    return sums


def _reason(error: Exception) -> str:
    message = error.strerror if isinstance(error, OSError) else None
    return message or first_line(error)[:200]
