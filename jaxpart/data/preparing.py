"""Prepare a data set: array_record shards that are read as fast as the disk is, written by all cores.

The folder OUT/NAME/1.0.0 holds, for each shard, its records and their annotations, what
tensorflow-datasets needs to read it, and jaxpart.json, which is written last: without it the folder
is not finished. A preparation that was killed goes on from its finished shards. The same data set
gives the same bytes, however often it was interrupted and by however many processes it was written.
What was finished or begun of other files, though of the same names, is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import numpy as np

from jaxpart.data.annotations import annotation_ids
from jaxpart.data.checking import Summary, repeated, total
from jaxpart.data.folders import fingerprint, read_file
from jaxpart.data.identity import identity_of
from jaxpart.data.locking import locked
from jaxpart.data.manifest import (
    MANIFEST,
    Manifest,
    Split,
    Whole,
    read_manifest,
    write_file,
)
from jaxpart.data.parallel import over_tasks
from jaxpart.data.prepared import UNFINISHED
from jaxpart.data.rechecking import check_same
from jaxpart.data.shards import Task, Written, find_written, write_shard
from jaxpart.data.source import DatasetInfo, Source
from jaxpart.data.tfds_layout import (
    VERSION,
    dataset_info_json,
    features_json,
    labels_txt,
    shard_name,
)
from jaxpart.errors import JaxpartError
from jaxpart.runs.progress import Progress

_RECORDS_PER_SHARD = 1000
_MAX_SHARDS = 256


def prepare(
    name: str,
    sources: Mapping[str, Source],
    out: str | pathlib.Path,
    *,
    whole: Source | None = None,
    skip: bool = False,
    workers: int | None = None,
    records_per_shard: int = _RECORDS_PER_SHARD,
    progress: Progress | None = None,
) -> tuple[pathlib.Path, dict[str, Summary]]:
    """Writes a prepared data set, or finishes one.

    Args:
      name: The data set.
      sources: Its splits by name.
      out: The folder that NAME/1.0.0 is made in.
      whole: The union of all splits in an order of its own, which is kept, without its records.
      skip: Whether records that are wrong are left out and listed, instead of ending the work.
      workers: Processes; by default one per core.
      records_per_shard: At least so many; more where there would be over 256 shards.
      progress: Shows how far it is.

    Returns:
      The finished folder, and what each split holds; empty where it was finished before.

    Raises:
      JaxpartError: A record is wrong, an id comes twice, the disk is full or read-only, another
        process is at work there, or the folder holds other data.
    """
    progress = progress or Progress()
    folder = pathlib.Path(out) / name / VERSION
    plan = _plan(name, sources, whole, skip, records_per_shard)
    with locked(folder.parent / f".{VERSION}.lock", f"preparing {folder}"):
        unfinished = folder / UNFINISHED
        if (folder / MANIFEST).exists():
            manifest = _check_finished(folder, sources, whole)
            with progress.bar(f"{name}: comparing", sum(map(len, sources.values()))) as advance:
                check_same(folder, manifest, sources, workers, advance)
            _remove(unfinished)  # by a process that was killed while it did so
            return folder, {}
        tasks = _tasks(name, sources, folder, skip, records_per_shard)
        done = _resume(unfinished, plan, tasks)
        if done:
            progress.say(f"{name}: {len(done)} of {len(tasks)} shards are there already")
        left = [task for task in tasks if task not in done]
        with (
            contextlib.closing(over_tasks(write_shard, sources, left, workers)) as results,
            progress.bar(f"{name}: preparing", sum(t.last - t.first for t in tasks)) as advance,
        ):
            advance(sum(task.last - task.first for task in done))
            for task, written in results:
                done[task] = written
                advance(task.last - task.first)
        written_of = {s: [done[task] for task in tasks if task.split == s] for s in sources}
        splits = {s: _split(source.info, written_of[s]) for s, source in sources.items()}
        _finish(name, folder, splits, whole)
        _remove(unfinished)
    summaries = {s: total(w.summary for w in parts) for s, parts in written_of.items()}
    return folder, summaries


def _plan(
    name: str, sources: Mapping[str, Source], whole: Source | None, skip: bool, size: int
) -> str:
    """What is to be prepared, as text: a preparation resumes only one of the same plan."""
    infos = {split: dataclasses.asdict(source.info) for split, source in sources.items()}
    lengths = {split: len(source) for split, source in sources.items()}
    tree = {"name": name, "splits": infos, "lengths": lengths, "skip": skip, "size": size}
    tree["identities"] = {split: identity_of(source) for split, source in sources.items()}
    tree["whole"] = None if whole is None else dataclasses.asdict(whole.info)
    return json.dumps(tree, indent=1)


def _tasks(
    name: str, sources: Mapping[str, Source], folder: pathlib.Path, skip: bool, size: int
) -> list[Task]:
    tasks = []
    for split, source in sources.items():
        if len(source) == 0:
            raise JaxpartError(f"{name} ({split}) holds no image; unpack it again")
        count = min(_MAX_SHARDS, math.ceil(len(source) / size))
        edges = [len(source) * i // count for i in range(count + 1)]
        tasks += [
            Task(
                split, edges[i], edges[i + 1], str(folder), shard_name(name, split, i, count), skip
            )
            for i in range(count)
        ]
    return tasks


def _resume(unfinished: pathlib.Path, plan: str, tasks: list[Task]) -> dict[Task, Written]:
    """The shards of an earlier try that are whole; notes the plan for later ones."""
    path = unfinished / "plan.json"
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JaxpartError(f"{unfinished} cannot be written: {error.strerror}") from error
    if path.exists() and read_file(path) != plan.encode():
        raise JaxpartError(
            f"{unfinished.parent} was begun for other data or options; remove the folder or name another "
            "--out"
        )
    write_file(path, plan.encode())
    found = ((task, find_written(task)) for task in tasks)
    return {task: written for task, written in found if written is not None}


def _remove(unfinished: pathlib.Path) -> None:
    """Removes what is known of finished shards: the manifest says it now."""
    try:
        if unfinished.exists():
            shutil.rmtree(unfinished)
    except OSError as error:
        raise JaxpartError(f"{unfinished} cannot be removed: {error.strerror}") from error


def _check_finished(
    folder: pathlib.Path, sources: Mapping[str, Source], whole: Source | None
) -> Manifest:
    """The manifest of the finished folder. Raises `JaxpartError` unless it is of these data."""
    manifest = read_manifest(folder)
    wholes = {} if whole is None else {whole.info.split: whole.info}
    there = {split: entry.info for split, entry in manifest.splits.items()}
    there |= {split: entry.info for split, entry in manifest.wholes.items()}
    skipped = tuple(entry for split in manifest.splits.values() for entry in split.skipped)
    expected = {
        **{
            split: _left_out(source.info, manifest.splits[split].skipped)
            for split, source in sources.items()
            if split in manifest.splits
        },
        **{split: _left_out(info, skipped) for split, info in wholes.items()},
    }
    if manifest.splits.keys() != sources.keys() or there != expected:
        raise JaxpartError(
            f"{folder} holds another version of the data set or other splits; remove it or name another "
            "--out"
        )
    return manifest


def _left_out(info: DatasetInfo, skipped: Sequence[tuple[int, str]]) -> DatasetInfo:
    """The info without some records, which are part of its version."""
    if not skipped:
        return info
    indices = repr([index for index, _ in skipped])
    return dataclasses.replace(info, version=fingerprint(info.version, indices))


def _split(info: DatasetInfo, parts: list[Written]) -> Split:
    skipped = tuple(entry for part in parts for entry in part.skipped)
    return Split(_left_out(info, skipped), tuple(part.shard for part in parts), skipped)


def _whole(
    folder: pathlib.Path, whole: Source, splits: Mapping[str, Split], ids: Sequence[str]
) -> Whole:
    """The split that is the union of all others; `ids` are theirs, laid end to end."""
    place = {key: i for i, key in enumerate(ids)}
    order = (place.get(whole.annotation(i).id) for i in range(len(whole)))
    file = io.BytesIO()
    np.save(file, np.array([at for at in order if at is not None], np.int64))
    skipped = tuple(entry for split in splits.values() for entry in split.skipped)
    name = f"order-{whole.info.split}.npy"
    info = _left_out(whole.info, skipped)
    return Whole(info, tuple(splits), write_file(folder / name, file.getvalue()))


def _finish(
    name: str, folder: pathlib.Path, splits: Mapping[str, Split], whole: Source | None
) -> None:
    """Writes what makes the folder a data set, jaxpart.json last."""
    ids: list[str] = []
    for split, entry in splits.items():
        if not entry.records:
            raise JaxpartError(
                f"no image of {name} ({split}) can be used; the first: {entry.skipped[0][1]}"
            )
        found = _ids(folder, entry)
        again = repeated(found)
        if again:
            raise JaxpartError(f"{name} ({split}): {again[0]}; make the ids unique")
        ids += found
    info = next(iter(splits.values())).info
    wholes = {} if whole is None else {whole.info.split: _whole(folder, whole, splits, ids)}
    lengths = {
        split: ([s.records for s in entry.shards], sum(s.images.size for s in entry.shards))
        for split, entry in splits.items()
    }
    description = f"{name}, prepared by jaxpart from the official files; images as published."
    write_file(folder / "features.json", features_json(info).encode())
    if info.class_names:
        write_file(folder / "label.labels.txt", labels_txt(info).encode())
    write_file(folder / "dataset_info.json", dataset_info_json(name, description, lengths).encode())
    write_file(folder / MANIFEST, Manifest(name, splits, wholes).to_json().encode())


def _ids(folder: pathlib.Path, split: Split) -> list[str]:
    names = [shard.annotations.name for shard in split.shards]
    return [key for name in names for key in annotation_ids(name, read_file(folder / name))]
