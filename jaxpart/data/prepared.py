"""A prepared data set as a `Source`: the records of the official folder, from array_record shards."""

from __future__ import annotations

import bisect
import io
import itertools
import pathlib
from typing import Any

import numpy as np

from jaxpart.data.annotations import AnnotationTable
from jaxpart.data.folders import NotThere
from jaxpart.data.manifest import MANIFEST, read_listed, read_manifest
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.data.tf_example import decode_bytes
from jaxpart.data.tfds_layout import VERSION
from jaxpart.errors import JaxpartError

UNFINISHED = ".unfinished"
"""Folder in a data set that is being prepared, with what is known of its finished shards."""

_OPTIONS = "readahead_buffer_size:0"  # records are read in any order
_BUFFER = 32768


def find_prepared(root: str | pathlib.Path, name: str) -> pathlib.Path | None:
    """The prepared data set NAME at `root` or below it (NAME/1.0.0), or None.

    Raises:
      JaxpartError: A preparation there was not finished.
    """
    root = pathlib.Path(root)
    for folder in (root, root / VERSION, root / name / VERSION):
        if (folder / MANIFEST).exists():
            if folder == root / name / VERSION or read_manifest(folder).name == name:
                return folder
        elif (folder / UNFINISHED).exists():
            raise JaxpartError(
                f"{folder} is not finished; run `python -m jaxpart.data prepare {name}` again, which goes "
                "on from there, or remove the folder"
            )
    return None


class Prepared:
    """A split of a prepared data set as a `Source`, with the `info` and records of its origin."""

    info: DatasetInfo

    def __init__(self, folder: str | pathlib.Path, split: str) -> None:
        """Reads the manifest and the annotations.

        Args:
          folder: The folder that holds jaxpart.json.
          split: One of its splits.

        Raises:
          NotThere: There is no such split.
          JaxpartError: A file is missing, cut off, or of another version.
        """
        self._folder = pathlib.Path(folder)
        manifest = read_manifest(self._folder)
        whole = manifest.wholes.get(split)
        if whole is None and split not in manifest.splits:
            known = ", ".join((*manifest.splits, *manifest.wholes))
            raise NotThere(f"{folder} has no split {split!r}; it has {known}")
        names = (split,) if whole is None else whole.of
        shards = [shard for name in names for shard in manifest.splits[name].shards]
        self.info = manifest.splits[split].info if whole is None else whole.info
        self._table = AnnotationTable(
            [(s.annotations.name, read_listed(self._folder, s.annotations)) for s in shards]
        )
        self._files = [shard.images.name for shard in shards]
        self._sums = [shard.images.sha256 for shard in shards]
        self._starts = [0, *itertools.accumulate(shard.records for shard in shards)]
        self._order = None
        if whole is not None:
            self._order = np.load(io.BytesIO(read_listed(self._folder, whole.order)))
        size = self._starts[-1] if self._order is None else len(self._order)
        if not len(self._table) == self._starts[-1] == size:
            raise JaxpartError(
                f"{folder} contradicts itself in {split}; prepare the data set again"
            )
        self._readers: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files, which every process opens for itself."""
        return {**self.__dict__, "_readers": {}}

    def __len__(self) -> int:
        """Number of images."""
        return self._starts[-1]

    def _place(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        index %= len(self)
        return index if self._order is None else int(self._order[index])

    def _position(self, place: int) -> tuple[int, int]:
        """(shard, record in it)."""
        shard = bisect.bisect_right(self._starts, place) - 1
        return shard, place - self._starts[shard]

    def annotation(self, index: int) -> Annotation:
        """What is known of an image, from memory."""
        return self._table[self._place(index)]

    def origin(self, index: int) -> str:
        """The checksum of the shard, and the image's place in it."""
        shard, position = self._position(self._place(index))
        return f"{self._sums[shard]} {position}"

    def __getitem__(self, index: int) -> Record:
        """An image with everything known of it."""
        place = self._place(index)
        shard, position = self._position(place)
        path = self._folder / self._files[shard]
        try:
            features = decode_bytes(self._reader(shard, path).read([position])[0])
            annotation = self._table[place]
            if features["id"].decode() != annotation.id:
                raise ValueError(f"the image is {features['id']!r} instead of {annotation.id}")
            masks = {kind: features[f"masks/{kind}"] for kind in self.info.mask_names}
            return Record(annotation, features["image"], masks)
        except (RuntimeError, ValueError, KeyError, IndexError) as error:
            raise JaxpartError(
                f"{path}, record {position} is damaged ({error}); prepare the data set again"
            ) from error

    def _reader(self, shard: int, path: pathlib.Path) -> Any:
        reader = self._readers.get(shard)
        if reader is None:
            from array_record.python import array_record_module

            reader = array_record_module.ArrayRecordReader(
                str(path), options=_OPTIONS, file_reader_buffer_size=_BUFFER
            )
            reader = self._readers.setdefault(shard, reader)  # another thread may have been first
        return reader
