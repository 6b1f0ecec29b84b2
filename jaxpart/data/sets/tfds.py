"""Any data set that tensorflow-datasets prepared as array_record.

`tfds:NAME/CONFIG:VERSION` is read from NAME/CONFIG/VERSION in a data directory, with tensorflow-datasets
but without TensorFlow or the builder's code: the folder describes its features.
"""

from __future__ import annotations

import io
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

from jaxpart.data.annotations import AnnotationTable
from jaxpart.data.folders import NotThere, check_split, fingerprint
from jaxpart.data.images import read_header
from jaxpart.data.indexes import kept_annotations
from jaxpart.data.sets.tfds_features import (
    LabelMapFeature,
    Stated,
    find_class,
    find_image,
    only,
    tree_of,
)
from jaxpart.data.sets.tfds_folders import check_features, check_shards, damaged, find_folder
from jaxpart.data.sets.tfds_keypoints import KeypointFeature
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError

SPLITS = ("train", "test")
_CHUNK = 256
_READ_LOCK = threading.Lock()


class Tfds:
    """A split of a data set prepared by tensorflow-datasets as a `Source`, in the order of its shards.

    Image and class are the data set's `supervised_keys`, else its only `Image` and its only `ClassLabel`;
    with label maps the class may be missing. Images stay encoded until they are used.
    """

    info: DatasetInfo

    def __init__(self, name: str, root: str, split: str, stated: Stated | None = None) -> None:
        """Finds the folder, its features and its shards, and reads the first image.

        Args:
          name: `tfds:NAME`, `tfds:NAME/CONFIG` or either with `:VERSION`; the newest version by default.
          root: The data directory; by default TFDS_DATA_DIR, or else ~/tensorflow_datasets.
          split: "train", or "test": the split test, or validation if there is no test split with known
            classes.
          stated: Other features to read; label maps become masks of kind "object".

        Raises:
          NotThere: The split does not exist.
          JaxpartError: The name, its folder or its format is not supported, or a file is damaged.
        """
        check_split(name, split, SPLITS)
        self._folder = find_folder(name, root)
        check_features(self._folder)
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder_from_directory(self._folder)
            file_format = builder.info.file_format.value
        except Exception as error:  # damaged JSON raises many types
            raise damaged(self._folder, error) from error
        if file_format != "array_record":
            raise JaxpartError(
                f"{self._folder} is prepared as {file_format}, which needs TensorFlow; convert it with "
                f"`tfds convert_format --dataset_version_dir={self._folder} --out_file_format=array_record "
                f"--out_dir=OTHER_DATA_DIR/{builder.info.full_name}` where TensorFlow is installed, or "
                "prepare it as array_record"
            )
        self._read_features(name, builder.info, tfds.features, stated or Stated())
        skipped, features = tfds.decode.SkipDecoding(), builder.info.features
        encoded = [self._image, *([self._map.path] if self._map else [])]
        decoded = [self._label, self._points.path if self._points else ""]
        self._skip = tree_of(encoded, skipped)
        self._features = only(features, [*encoded, *filter(None, decoded)])
        raw = tfds.decode.DeserializeMethod.RAW_BYTES

        def open_split(real: str) -> Any:
            try:
                return builder.as_data_source(split=real, deserialize_method=raw)
            except Exception as error:
                raise damaged(self._folder, error) from error

        self._split = split
        if split not in builder.info.splits or (
            split == "test" and not self._is_labelled(open_split(split))
        ):
            self._split = "validation" if split == "test" else split
        if self._split not in builder.info.splits:
            raise NotThere(
                f"{self._folder} has no split {self._split!r} with classes; it has "
                f"{', '.join(builder.info.splits) or 'none'}"
            )
        self._records = open_split(self._split)
        shards = builder.info.splits[self._split]
        check_shards(self._folder, shards.filepaths, shards.shard_lengths)
        files = [pathlib.Path(path).stat() for path in shards.filepaths]
        self._shards = fingerprint(*(f"{f.st_size} {f.st_mtime_ns} {f.st_ctime_ns}" for f in files))
        sizes = " ".join(str(file.st_size) for file in files)
        self._table: AnnotationTable | None = None
        self.info = DatasetInfo(
            name=name,
            split=split,
            version=fingerprint(
                builder.info.full_name, self._split, "\n".join(self._classes), sizes, repr(stated)
            ),
            part_names=self._points.part_names if self._points else {},
            class_names=self._classes,
            mask_names={"object": self._map.names} if self._map else {},
            notes=(f"its split {self._split} is read",) if self._split != split else (),
        )
        if len(self):
            self[0]  # raises early if nothing can be read

    def _read_features(self, name: str, info: Any, features: Any, stated: Stated) -> None:
        """Finds the features to read."""
        if not isinstance(info.features, features.FeaturesDict):
            raise JaxpartError(
                f"{name} has no named features; choose a data set of images with classes"
            )
        self._image = find_image(name, info, features, stated.label_map)
        self._map = None
        if stated.label_map:
            kinds = features.Image, features.LabeledImage
            self._map = LabelMapFeature(name, info.features, stated, kinds)
        self._points = None
        if stated.keypoints:
            self._points = KeypointFeature(name, info.features, stated)
        self._label, self._classes = "", tuple[str, ...]()
        try:
            self._label, self._classes = find_class(name, info, features)
        except JaxpartError:
            if self._map is None and self._points is None:
                raise

    def __len__(self) -> int:
        """Number of images."""
        return len(self._records)

    def annotation(self, index: int) -> Annotation:
        """The split and number of an image, its class (None if withheld) and its keypoints.

        The first call reads all records, unless the user's cache has their annotations.
        """
        row = range(len(self))[index]
        if not self._label and self._points is None:
            return Annotation(self._id(row))
        if self._table is None:
            with _READ_LOCK:
                if self._table is None:  # another thread may have read it meanwhile
                    self._table = kept_annotations(
                        f"{self._folder.resolve()} {self.info.version} {self._shards}",
                        lambda: map(self._annotated, range(len(self)), self._examples()),
                    )
        return self._table[row]

    def _id(self, row: int) -> str:
        return f"{self._split}/{row}"

    def _annotated(self, row: int, example: dict[str, Any]) -> Annotation:
        """The annotation of a decoded example."""
        image_id, label, points, size = self._id(row), -1, None, None
        if self._label:
            label = int(example[self._label])
            if not -1 <= label < len(self._classes):
                count = len(self._classes)
                raise damaged(
                    self._folder,
                    f"{image_id} has the label {label}, but there are only {count} classes",
                )
        if self._points is not None:
            where = f"{self.info.name}, {image_id}"
            points = self._points.read(example, where)
            header = read_header(io.BytesIO(bytes(example[self._image])), where)
            size = header.width, header.height
        return Annotation(image_id, points, None if label < 0 else label, size)

    def origin(self, index: int) -> str:
        """Sizes and times of the split's files, and the image's index."""
        return f"{self._shards} {range(len(self))[index]}"

    def __getitem__(self, index: int) -> Record:
        """An image with its annotation and mask."""
        row = range(len(self))[index]
        (example,) = self._read([row])
        annotation, image = self._annotated(row, example), bytes(example[self._image])
        if self._map is None:
            return Record(annotation, image)
        mask = self._map.read(example, f"{self.info.name}, {annotation.id}")
        return Record(annotation, image, {"object": mask})

    def _read(self, rows: list[int]) -> list[dict[str, Any]]:
        """Decodes examples, except their images."""
        try:
            return [self._example(record) for record in self._records.__getitems__(rows)]
        except Exception as error:
            raise damaged(self._folder, f"{self._id(rows[0])}: {error}") from error

    def _example(self, record: bytes) -> dict[str, Any]:
        return self._features.deserialize_example_np(record, decoders=self._skip)

    def _examples(self) -> Iterator[dict[str, Any]]:
        for first in range(0, len(self), _CHUNK):
            yield from self._read(list(range(first, min(first + _CHUNK, len(self)))))

    def _is_labelled(self, records: Any) -> bool:
        """Whether a split's classes are known, or not needed."""
        if not self._label or self._map or self._points:
            return True
        try:
            return len(records) > 0 and int(self._example(records[0])[self._label]) >= 0
        except Exception as error:
            raise damaged(self._folder, error) from error
