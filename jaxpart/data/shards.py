"""One shard of a prepared data set: its records checked and written, and a note that it is done."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from jaxpart.data.annotations import encode_annotations
from jaxpart.data.checking import Header, Summary, look_at, record_faults, summarize
from jaxpart.data.folders import read_file
from jaxpart.data.manifest import File, Shard, describe_file, write_file
from jaxpart.data.prepared import UNFINISHED
from jaxpart.data.source import Annotation, Source
from jaxpart.data.tf_example import encode_example
from jaxpart.data.tfds_layout import features_of
from jaxpart.errors import JaxpartError
from jaxpart.io.files import parse_json, replacing, sealed_json

_OPTIONS = "group_size:1,uncompressed"  # records are read one by one, and images do not compress


class Task(NamedTuple):
    """One shard to write: the records [first, last) of a split, as a file of a folder."""

    split: str
    first: int
    last: int
    folder: str
    file: str
    skip: bool


@dataclasses.dataclass(frozen=True)
class Written:
    """A finished shard: what the manifest keeps of it, what was left out, and what it holds."""

    shard: Shard
    skipped: tuple[tuple[int, str], ...]
    summary: Summary


def write_shard(sources: Mapping[str, Source], task: Task) -> Written:
    """Writes one shard, its annotations, and the note that it is done; holds one record at a time."""
    source, folder = sources[task.split], pathlib.Path(task.folder)
    annotations: list[Annotation] = []
    pictures: list[Header] = []
    skipped: list[tuple[int, str]] = []
    with _shard_file(folder / task.file) as write:
        for index in range(task.first, task.last):
            try:
                record = source[index]
                fault = next(record_faults(record, source.info), None)
                if fault is not None:
                    raise JaxpartError(fault)
            except JaxpartError as error:
                if not task.skip:
                    raise
                skipped.append((index, str(error)))
                continue
            write(encode_example(features_of(record, source.info)))
            annotations.append(record.annotation)
            pictures.append(look_at(record))
    shard = Shard(
        len(annotations),
        describe_file(folder / task.file),
        write_file(
            folder / task.file.replace(".array_record-", ".annotations-"),
            encode_annotations(annotations),
        ),
    )
    written = Written(shard, tuple(skipped), summarize(pictures))
    write_file(_note(task), sealed_json(dataclasses.asdict(written)).encode())
    return written


def find_written(task: Task) -> Written | None:
    """A shard that an earlier try finished, or None if it did not or a file has changed since.

    Raises:
      JaxpartError: The note of it is damaged.
    """
    path = _note(task)
    if not path.exists():
        return None
    try:
        tree = parse_json(read_file(path))
        shard = tree["shard"]
        written = Written(
            Shard(shard["records"], File(**shard["images"]), File(**shard["annotations"])),
            tuple((index, why) for index, why in tree["skipped"]),
            Summary(**tree["summary"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise JaxpartError(f"{path} is damaged ({error!r}); remove its folder") from error
    for file in (written.shard.images, written.shard.annotations):
        there = pathlib.Path(task.folder) / file.name
        if not there.exists() or describe_file(there) != file:
            return None
    return written


def _note(task: Task) -> pathlib.Path:
    return pathlib.Path(task.folder) / UNFINISHED / f"{task.file}.json"


@contextlib.contextmanager
def _shard_file(path: pathlib.Path) -> Iterator[Callable[[bytes], None]]:
    """Yields a function that appends a record to an array_record file.

    The file gets its name once it is whole and on the disk.
    """
    from array_record.python import array_record_module

    with replacing(path) as temporary:
        with as_os_errors():
            writer = array_record_module.ArrayRecordWriter(str(temporary), _OPTIONS)

        def write(data: bytes) -> None:
            with as_os_errors():
                writer.write(data)

        try:
            yield write
        except BaseException:
            with contextlib.suppress(RuntimeError):
                writer.close()
            raise
        with as_os_errors():
            writer.close()
        with temporary.open("rb") as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def as_os_errors() -> Iterator[None]:
    """Turns what array_record raises for a full or read-only disk into what Python does."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error).split(";")[0]) from error
