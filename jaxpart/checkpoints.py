"""Arrays on disk. The only file that knows Orbax."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from jaxpart.errors import JaxpartError


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
    import orbax.checkpoint as ocp  # Slow to import, and most runs only read.

    # Weights hardly compress (8 %), and the buffers would cost as much memory as the weights.
    with ocp.PyTreeCheckpointer(use_compression=False) as checkpointer:
        checkpointer.save(folder.absolute(), _nested(arrays))


def load_arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote, into host memory.

    Raises:
      JaxpartError: The folder is missing or damaged.
    """
    import orbax.checkpoint as ocp

    if not folder.is_dir():
        raise JaxpartError(f"the weights {folder} are missing; convert the checkpoint again")
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            tree = checkpointer.metadata(folder.absolute()).item_metadata.tree
            arguments = _as_numpy(tree, ocp.RestoreArgs(restore_type=np.ndarray))
            restore = ocp.args.PyTreeRestore(restore_args=arguments)
            return _flat(checkpointer.restore(folder.absolute(), args=restore))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise JaxpartError(
            f"the weights {folder} are damaged ({reason}); convert the checkpoint again"
        ) from error


def _as_numpy(tree: Any, leaf: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _as_numpy(value, leaf) for name, value in tree.items()}
    return leaf
