"""Results of a run for each test item, in TASK_DATA.npz: one array per result."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np

from jaxpart.errors import JaxpartError
from jaxpart.io.files import npz
from jaxpart.io.npz import read_npz
from jaxpart.runs.rows import Key

_KEYS = "keys"


def items_file(task: str, data: str) -> str:
    """The name of the file with a task's results for each item.

    Args:
      task: The task.
      data: The data set; names of tensorflow-datasets may contain a slash.
    """
    return f"{task}_{data}.npz".replace("/", "_")


def items_npz(items: Mapping[str, np.ndarray], results: Mapping[Key, np.ndarray]) -> bytes:
    """The file's content: arrays on the items by name, each result's array by its key's label, and "keys".

    "keys" [result, field] has the fields of each result's `Key`.

    Args:
      items: Arrays on the items: ids, labels, …
      results: The result of each item, by key.
    """
    keys = np.array([list(key) for key in results], np.str_).reshape(-1, len(Key._fields))
    return npz({**items, **{key.label: array for key, array in results.items()}, _KEYS: keys})


def read_items(
    path: pathlib.Path, advice: str
) -> tuple[dict[str, np.ndarray], dict[Key, np.ndarray]]:
    """Reads a file written by `items_npz`: arrays on the items, and results by key.

    Args:
      path: The file.
      advice: What to do if it is damaged, for the message.

    Raises:
      JaxpartError: It cannot be read, or is damaged.
    """
    items = read_npz(path, advice)
    try:
        keys = [Key(*map(str, row)) for row in items.pop(_KEYS)]
        return items, {key: items.pop(key.label) for key in keys}
    except (KeyError, TypeError) as error:
        raise JaxpartError(f"{path} is damaged ({error!r}); {advice}") from error
