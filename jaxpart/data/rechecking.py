"""Whether a prepared data set still holds what its source does: all records of both, compared."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxpart.data.checking import record_faults
from jaxpart.data.images import decode, decode_indices
from jaxpart.data.manifest import Manifest
from jaxpart.data.parallel import over_tasks
from jaxpart.data.prepared import Prepared
from jaxpart.data.source import Record, Source
from jaxpart.errors import JaxpartError

_PREPARED = "prepared "


class _Task(NamedTuple):
    """Records of a source that lie in a shard from place `first` on, or were left out of all (-1)."""

    split: str
    indices: tuple[int, ...]
    first: int


def check_same(
    folder: pathlib.Path,
    manifest: Manifest,
    sources: Mapping[str, Source],
    workers: int | None,
    advance: Callable[[int], None],
) -> None:
    """Reads all records of the sources, and those of the folder.

    Args:
      folder: The finished folder.
      manifest: Its own.
      sources: Its splits by name.
      workers: Processes, see `over_tasks`.
      advance: Takes the number of records compared.

    Raises:
      JaxpartError: A record is another one now, or cannot be read.
    """
    tasks = []
    for split, entry in manifest.splits.items():
        left_out = tuple(index for index, _ in entry.skipped)
        kept = np.delete(np.arange(len(sources[split])), left_out).tolist()
        tasks.append(_Task(split, left_out, -1))
        first = 0
        for shard in entry.shards:
            tasks.append(_Task(split, tuple(kept[first : first + shard.records]), first))
            first += shard.records
    both = {**sources, **{f"{_PREPARED}{split}": Prepared(folder, split) for split in sources}}
    with contextlib.closing(over_tasks(_first_change, both, tasks, workers)) as results:
        for task, changed in results:
            if changed is not None:
                raise JaxpartError(
                    f"{folder} was prepared from other files: {changed} ({task.split}) has changed "
                    f"since; remove it to prepare it anew, or name another --out"
                )
            advance(len(task.indices))


def _first_change(sources: Mapping[str, Source], task: _Task) -> str | None:
    """Id of the first record of a task that changed, or None."""
    source, prepared = sources[task.split], sources[_PREPARED + task.split]
    for place, index in enumerate(task.indices, task.first):
        if task.first < 0:
            if not _is_wrong(source, index):
                return source.annotation(index).id
            continue
        record = source[index]
        if not _same(record, prepared[place]):
            return record.annotation.id
    return None


def _is_wrong(source: Source, index: int) -> bool:
    try:
        return next(record_faults(source[index], source.info), None) is not None
    except JaxpartError:
        return True


def _same(a: Record, b: Record) -> bool:
    name = a.annotation.id
    if name != b.annotation.id or a.annotation.label != b.annotation.label:
        return False
    # What is drawn may be compressed in another way by another Pillow.
    if a.image != b.image:
        ours, theirs = (np.asarray(decode(image, name)) for image in (a.image, b.image))
        if not np.array_equal(ours, theirs):
            return False
    return a.masks.keys() == b.masks.keys() and all(
        mask == b.masks[kind]
        or np.array_equal(decode_indices(mask, name), decode_indices(b.masks[kind], name))
        for kind, mask in a.masks.items()
    )
