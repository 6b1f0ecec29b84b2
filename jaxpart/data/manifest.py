"""The file that makes a folder a prepared data set: written last, with counts and checksums."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxpart.data.folders import read_file
from jaxpart.data.source import DatasetInfo
from jaxpart.data.tfds_layout import VERSION
from jaxpart.errors import JaxpartError
from jaxpart.io.files import parse_json, replacing, sealed_json

MANIFEST = "jaxpart.json"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a prepared data set: its name, size in bytes and SHA-256."""

    name: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Shard:
    """A run of records: array_record file, their annotations (`jaxpart.data.annotations`), count."""

    records: int
    images: File
    annotations: File


@dataclasses.dataclass(frozen=True)
class Split:
    """A split: its `DatasetInfo`, its shards, and (index, reason) of what was left out."""

    info: DatasetInfo
    shards: tuple[Shard, ...]
    skipped: tuple[tuple[int, str], ...] = ()

    @property
    def records(self) -> int:
        """Number of records in all shards."""
        return sum(shard.records for shard in self.shards)


@dataclasses.dataclass(frozen=True)
class Whole:
    """A split that is the union of others: its `DatasetInfo`, theirs in turn, and its order.

    The file holds int64 places in the splits laid end to end, as .npy.
    """

    info: DatasetInfo
    of: tuple[str, ...]
    order: File


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What jaxpart.json holds."""

    name: str
    splits: Mapping[str, Split]
    wholes: Mapping[str, Whole]

    def to_json(self) -> str:
        """The text of jaxpart.json."""
        tree = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}
        return sealed_json(tree)

    def files(self) -> list[File]:
        """Every file that it lists."""
        shards = [shard for split in self.splits.values() for shard in split.shards]
        return [
            *(file for shard in shards for file in (shard.images, shard.annotations)),
            *(whole.order for whole in self.wholes.values()),
        ]


def read_manifest(folder: pathlib.Path) -> Manifest:
    """Reads jaxpart.json and looks for its files, whose sizes must be those listed.

    Raises:
      JaxpartError: The file is damaged or of another version, or a file is missing or cut off.
    """
    path = folder / MANIFEST
    try:
        tree = parse_json(read_file(path))
        if "format" not in tree:
            raise ValueError("no field 'format'")
        if (tree["format"], tree["version"]) != (FORMAT, VERSION):
            raise JaxpartError(
                f"{path} has format {tree['format']} (version {tree['version']}) and this jaxpart reads "
                f"{FORMAT} ({VERSION}); prepare the data set again"
            )
        manifest = Manifest(
            name=tree["name"],
            splits={key: _split(value) for key, value in tree["splits"].items()},
            wholes={
                key: Whole(_info(value["info"]), tuple(value["of"]), File(**value["order"]))
                for key, value in tree["wholes"].items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JaxpartError(f"{path} is damaged ({error!r}); prepare the data set again") from error
    for file in manifest.files():
        try:
            size = (folder / file.name).stat().st_size
        except OSError as error:
            raise JaxpartError(
                f"{folder / file.name} cannot be read: {error.strerror}; prepare the data set again"
            ) from error
        if size != file.size:
            raise JaxpartError(
                f"{folder / file.name} has {size} bytes instead of {file.size}; prepare the data set again"
            )
    return manifest


def _split(tree: dict[str, Any]) -> Split:
    shards = tuple(
        Shard(shard["records"], File(**shard["images"]), File(**shard["annotations"]))
        for shard in tree["shards"]
    )
    return Split(_info(tree["info"]), shards, tuple((i, why) for i, why in tree["skipped"]))


def _info(tree: dict[str, Any]) -> DatasetInfo:
    return DatasetInfo(
        name=tree["name"],
        split=tree["split"],
        version=tree["version"],
        part_names={int(part): name for part, name in tree["part_names"].items()},
        class_names=tuple(tree["class_names"]),
        mask_names={kind: tuple(names) for kind, names in tree["mask_names"].items()},
        notes=tuple(tree.get("notes", ())),
    )


def write_file(path: pathlib.Path, data: bytes) -> File:
    """Writes a file, whole or not at all, and returns once it is on the disk.

    Raises:
      JaxpartError: The disk is full or read-only.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return File(path.name, len(data), hashlib.sha256(data).hexdigest())


def read_listed(folder: pathlib.Path, file: File) -> bytes:
    """A small file of a prepared data set. Raises `JaxpartError` if it is not as it was written."""
    data = read_file(folder / file.name)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise JaxpartError(
            f"{folder / file.name} was changed after it was written; prepare the data set again"
        )
    return data


def describe_file(path: pathlib.Path) -> File:
    """Name, size and SHA-256 of a file. Raises `JaxpartError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return File(path.name, file.tell(), digest)
    except OSError as error:
        raise JaxpartError(f"{path} cannot be read: {error.strerror}") from error
