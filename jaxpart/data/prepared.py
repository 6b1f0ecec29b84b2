"""A prepared data set as a `Source`: the records of the official folder, from array_record shards.

Records are parsed with tensorflow-datasets' protocol buffers. Its `as_data_source` takes 1.6 times as long
(`python -m benchmarks prepare`), and has to read the images to get the annotations.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpart.data.annotations import AnnotationTable
from jaxpart.data.folders import NotThere, read_file
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.files import in_bucket, parse_json, path_of
from jaxpart.io.npz import read_npz

VERSION = "2.0.0"
"""Version of the format, and name of its folder."""
FORMAT = 2
METADATA = "metadata.json"
_EARLIER = "1.0.0/jaxpart.json"
_ADVICE = "prepare the data set again"
_OPTIONS = "readahead_buffer_size:0"  # records are read in any order
_BUFFER = 32768


def tfds_split(split: str) -> str:
    """The split's name in tensorflow-datasets, where "all" is reserved."""
    return "full" if split == "all" else split


def annotations_file(split: str) -> str:
    """Name of the file with a split's annotations."""
    return f"annotations-{split}.npz"


def order_file(split: str) -> str:
    """Name of the file with the order of a split that is the union of all others.

    It holds int64 positions in their concatenation.
    """
    return f"order-{split}.npz"


@dataclasses.dataclass(frozen=True)
class Split:
    """The metadata of a split.

    Attributes:
      info: Its info; the version and a note depend on the skipped records.
      records: Number of records.
      skipped: (index, reason) of each record that was left out.
      identity: Identity of the source, see `jaxpart.data.identity.identity_of`.
      content: SHA-256 of all images and label maps.
    """

    info: DatasetInfo
    records: int
    skipped: tuple[tuple[int, str], ...]
    identity: str
    content: str


@dataclasses.dataclass(frozen=True)
class Whole:
    """A split that is the union of others, in its own order, see `order_file`."""

    info: DatasetInfo
    of: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class About:
    """The content of metadata.json."""

    name: str
    splits: Mapping[str, Split]
    wholes: Mapping[str, Whole]


def read_about(folder: pathlib.Path) -> About:
    """Reads the metadata of a prepared folder.

    Raises:
      JaxpartError: metadata.json is missing, damaged or of a different format.
    """
    path = folder / METADATA
    try:
        tree = parse_json(read_file(path))
        if tree["format"] != FORMAT:
            raise JaxpartError(
                f"{path} has format {tree['format']} and this jaxpart reads {FORMAT}; {_ADVICE}"
            )
        splits = {
            split: Split(
                _info(entry["info"]),
                int(entry["records"]),
                tuple((int(index), str(reason)) for index, reason in entry["skipped"]),
                str(entry["identity"]),
                str(entry["content"]),
            )
            for split, entry in tree["splits"].items()
        }
        wholes = {
            split: Whole(_info(entry["info"]), tuple(entry["of"]))
            for split, entry in tree["wholes"].items()
        }
        return About(str(tree["name"]), splits, wholes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise JaxpartError(f"{path} is damaged ({error!r}); {_ADVICE}") from error


def _info(tree: dict[str, Any]) -> DatasetInfo:
    return DatasetInfo(
        name=tree["name"],
        split=tree["split"],
        version=tree["version"],
        part_names={int(part): name for part, name in tree["part_names"].items()},
        class_names=tuple(tree["class_names"]),
        mask_names={kind: tuple(names) for kind, names in tree["mask_names"].items()},
        notes=tuple(tree["notes"]),
    )


def find_prepared(root: str | pathlib.Path, name: str) -> pathlib.Path | None:
    """The prepared data set NAME at `root` or below it (NAME/2.0.0), or None.

    Raises:
      JaxpartError: An earlier jaxpart prepared it.
    """
    root = path_of(root)
    for folder in (root, root / VERSION, root / name / VERSION):
        if _is_prepared(folder):
            if folder == root / name / VERSION or read_about(folder).name == name:
                return folder
        elif (folder.parent / _EARLIER).exists() and folder.parent.name == name:
            raise JaxpartError(
                f"{folder.parent} was prepared by an earlier jaxpart; remove it, and run `python -m "
                f"jaxpart.data prepare {name}` again"
            )
    return None


def _is_prepared(folder: Any) -> bool:
    """Whether a folder has our metadata and tensorflow-datasets' own; others have a metadata.json too."""
    try:
        return all((folder / file).exists() for file in (METADATA, "dataset_info.json"))
    except OSError:  # a folder that cannot be read, or no name of one
        return False


def _copy_split(folder: pathlib.Path, name: str, split: str, names: Sequence[str]) -> pathlib.Path:
    """Copies a split's files from a bucket to a local folder named by the hash of metadata.json."""
    from jaxpart.io.buckets import copies_of, copy_missing

    content = hashlib.sha256(read_file(folder / METADATA)).hexdigest()[:16]
    copy = copies_of(folder) / content
    shards = [f"{name}-{tfds_split(part)}.array_record-*" for part in names]
    try:
        copy_missing(folder, copy, [*shards, *map(annotations_file, names), order_file(split)])
    except OSError as error:
        raise JaxpartError(f"{folder} cannot be copied to {copy}: {error.strerror}") from error
    return copy


class Prepared:
    """A split of a prepared data set as a `Source`, with the original `info` and records."""

    info: DatasetInfo

    def __init__(self, folder: str | pathlib.Path, split: str) -> None:
        """Reads the metadata and the annotations.

        Args:
          folder: The folder with metadata.json; from a bucket it is first copied to this machine.
          split: One of its splits.

        Raises:
          NotThere: The folder does not have this split.
          JaxpartError: A file is missing, truncated, or of a different version.
        """
        self._folder = path_of(folder)
        about = read_about(self._folder)
        whole = about.wholes.get(split)
        if whole is None and split not in about.splits:
            available = ", ".join((*about.splits, *about.wholes))
            raise NotThere(f"{folder} has no split {split!r}; it has {available}")
        names = (split,) if whole is None else whole.of
        self.info = about.splits[split].info if whole is None else whole.info
        if in_bucket(folder):
            self._folder = _copy_split(self._folder, about.name, split, names)
        self._table = AnnotationTable(
            [(str(path), read_file(path)) for path in map(self._annotations, names)]
        )
        self._readers: dict[str, Any] = {}
        self._shards = [shard for name in names for shard in self._shards_of(about, name)]
        self._starts = [0, *itertools.accumulate(count for _, count, _ in self._shards)]
        self._order = None
        if whole is not None:
            arrays = read_npz(self._folder / order_file(split), _ADVICE)
            self._order = arrays.get("order")
        size = self._starts[-1] if self._order is None else len(self._order)
        if not len(self._table) == self._starts[-1] == size:
            raise JaxpartError(f"{folder} is inconsistent in {split}; {_ADVICE}")

    def _annotations(self, split: str) -> pathlib.Path:
        return self._folder / annotations_file(split)

    def _shards_of(self, about: About, split: str) -> list[tuple[str, int, str]]:
        """(file, number of records, content and first record) of each shard of a split, in order."""
        pattern = f"{about.name}-{tfds_split(split)}.array_record-*-of-*"
        files = sorted(path.name for path in self._folder.glob(pattern))
        counts = [self._reader(file).num_records() for file in files]
        entry = about.splits[split]
        match = re.search(r"-of-(\d+)$", files[0]) if files else None
        if match is None or int(match[1]) != len(files) or sum(counts) != entry.records:
            raise JaxpartError(
                f"{self._folder} has {sum(counts)} of {entry.records} records of {split}, in "
                f"{len(files)} shards; {_ADVICE}"
            )
        starts = itertools.accumulate(counts, initial=0)
        return [
            (file, count, f"{entry.content} {start}")
            for file, count, start in zip(files, counts, starts, strict=False)
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Drops the open files, which every process reopens."""
        return {**self.__dict__, "_readers": {}}

    def __len__(self) -> int:
        """Number of images."""
        return self._starts[-1]

    def _row(self, index: int) -> int:
        """The row of an image in the concatenated shards."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        index %= len(self)
        return index if self._order is None else int(self._order[index])

    def _position(self, row: int) -> tuple[int, int]:
        """(shard, record in it) of a row."""
        shard = bisect.bisect_right(self._starts, row) - 1
        return shard, row - self._starts[shard]

    def annotation(self, index: int) -> Annotation:
        """The annotation of an image, from memory."""
        return self._table[self._row(index)]

    def origin(self, index: int) -> str:
        """The checksum of the whole split, and the image's position in it."""
        shard, position = self._position(self._row(index))
        return f"{self._shards[shard][2]} {position}"

    def __getitem__(self, index: int) -> Record:
        """An image with its annotation and masks."""
        from tensorflow_datasets.proto import tf_example_pb2

        row = self._row(index)
        shard, position = self._position(row)
        file = self._shards[shard][0]
        try:
            data = self._reader(file).read([position])[0]
            features = tf_example_pb2.Example.FromString(data).features.feature

            def value(name: str) -> bytes:
                return features[name].bytes_list.value[0]

            annotation = self._table[row]
            if value("id").decode("utf-8", "surrogateescape") != annotation.id:
                raise ValueError(f"the image is {value('id')!r} instead of {annotation.id}")
            masks = {kind: value(f"masks/{kind}") for kind in self.info.mask_names}
            return Record(annotation, value("image"), masks)
        except JaxpartError:
            raise
        except Exception as error:  # damaged bytes raise many types
            raise JaxpartError(
                f"{self._folder / file}, record {position} is damaged ({first_line(error)}); {_ADVICE}"
            ) from error

    def _reader(self, file: str) -> Any:
        reader = self._readers.get(file)
        if reader is None:
            from array_record.python import array_record_module

            try:
                reader = array_record_module.ArrayRecordReader(
                    str(self._folder / file), options=_OPTIONS, file_reader_buffer_size=_BUFFER
                )
            except (RuntimeError, ValueError) as error:
                raise JaxpartError(
                    f"{self._folder / file} is damaged ({first_line(error)}); {_ADVICE}"
                ) from error
            reader = self._readers.setdefault(file, reader)  # unless another thread was first
        return reader
