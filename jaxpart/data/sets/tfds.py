"""Any data set of images and classes that tensorflow-datasets has prepared as array_record, by its name.

`tfds:NAME/CONFIG:VERSION` is read from NAME/CONFIG/VERSION in a data directory, by tensorflow-datasets and
without TensorFlow. The builder's code is not needed: its features are described in the folder.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxpart.data.folders import NotThere, check_split, fingerprint, read_file
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError, first_line
from jaxpart.io.files import parse_json

PREFIX = "tfds:"
SPLITS = ("train", "test")
ADVICE = "prepare it with tensorflow-datasets, with file_format='array_record'"
_NAME = re.compile(r"tfds:([a-zA-Z]\w*)(?:/(\w[\w.=+-]*))?(?::(\d+\.\d+\.\d+))?", re.ASCII)
_VERSION = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
_FEATURES = "tensorflow_datasets.core.features."
_CHUNK = 256
_MAX_CLASSES = 1_000_000  # a number in a file of a stranger, which becomes a list of names


class Tfds:
    """A split of a data set prepared by tensorflow-datasets as a `Source`, in the order of its shards.

    Its image and its class are those of the data set's `supervised_keys`, else its only `Image` and its
    only `ClassLabel`. Images stay encoded until they are used. To know the classes, all records are read
    once when it is opened.
    """

    info: DatasetInfo

    def __init__(self, name: str, root: str, split: str) -> None:
        """Finds the folder and reads the classes.

        Args:
          name: `tfds:NAME`, `tfds:NAME/CONFIG` or either with `:VERSION`; the newest version by default.
          root: The data directory; by default TFDS_DATA_DIR, else ~/tensorflow_datasets.
          split: "train", or "test": the split test, or validation where there is no test split whose
            classes are known.

        Raises:
          NotThere: There is no such split.
          JaxpartError: The name, its folder or its format is not one that is read, or a file is damaged.
        """
        check_split(name, split, SPLITS)
        self._folder = _find_folder(name, root)
        _check_features(self._folder)
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder_from_directory(self._folder)
            file_format = builder.info.file_format.value
        except Exception as error:  # damaged JSON raises many types
            raise _damaged(self._folder, error) from error
        if file_format != "array_record":
            raise JaxpartError(
                f"{self._folder} is prepared as {file_format}, which needs TensorFlow; convert it by `tfds "
                f"convert_format --dataset_version_dir={self._folder} --out_file_format=array_record "
                f"--out_dir=OTHER_DATA_DIR/{builder.info.full_name}` where TensorFlow is installed, or "
                "prepare it as array_record"
            )
        self._image, self._label = _keys(name, builder.info, tfds.features)
        skip = {self._image: tfds.decode.SkipDecoding()}

        def open_split(real: str) -> Any:
            try:
                return builder.as_data_source(split=real, decoders=skip)
            except Exception as error:
                raise _damaged(self._folder, error) from error

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
        self._labels = np.fromiter(self._read_labels(), np.int64)
        classes = tuple(builder.info.features[self._label].names)
        if self._labels.size and not -1 <= self._labels.min() <= self._labels.max() < len(classes):
            raise _damaged(self._folder, f"a label of {self._split} is not one of {len(classes)}")
        shards = builder.info.splits[self._split]
        files = [pathlib.Path(path).stat() for path in shards.filepaths]
        self._shards = fingerprint(*(f"{f.st_size} {f.st_mtime_ns} {f.st_ctime_ns}" for f in files))
        self.info = DatasetInfo(
            name=name,
            split=split,
            version=fingerprint(
                builder.info.full_name, self._split, "\n".join(classes), self._labels.tobytes()
            ),
            class_names=classes,
            notes=(f"its split {self._split} is read",) if self._split != split else (),
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self._labels)

    def annotation(self, index: int) -> Annotation:
        """The split and number of an image, and its class; None where the data set withholds it."""
        label = int(self._labels[index])
        place = range(len(self))[index]
        return Annotation(f"{self._split}/{place}", label=None if label < 0 else label)

    def origin(self, index: int) -> str:
        """Sizes and times of the split's files, and the image's number."""
        return f"{self._shards} {range(len(self))[index]}"

    def __getitem__(self, index: int) -> Record:
        """An image with its class."""
        annotation = self.annotation(index)
        try:
            image = self._records[range(len(self))[index]][self._image]
        except Exception as error:
            raise _damaged(self._folder, f"{annotation.id}: {error}") from error
        return Record(annotation, bytes(image))

    def _is_labelled(self, records: Any) -> bool:
        try:
            return len(records) > 0 and int(records[0][self._label]) >= 0
        except Exception as error:
            raise _damaged(self._folder, error) from error

    def _read_labels(self) -> Iterator[int]:
        try:
            for first in range(0, len(self._records), _CHUNK):
                chunk = range(first, min(first + _CHUNK, len(self._records)))
                for record in self._records.__getitems__(list(chunk)):
                    yield int(record[self._label])
        except Exception as error:
            raise _damaged(self._folder, error) from error


def _damaged(folder: pathlib.Path, error: object) -> JaxpartError:
    said = first_line(error) if isinstance(error, Exception) else error
    return JaxpartError(f"{folder} is damaged or incomplete ({said}); prepare it again")


def _find_folder(name: str, root: str) -> pathlib.Path:
    """The folder of a version. Raises `JaxpartError` if there is none, or several configurations."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise JaxpartError(f"{name!r} is not a data set; write tfds:NAME/CONFIG:VERSION")
    base = pathlib.Path(root or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    base = base.expanduser()
    folder, config, version = base / match[1], match[2], match[3]
    if config is None and folder.is_dir() and not _versions(folder):
        configs = sorted(path.name for path in folder.iterdir() if _versions(path))
        if len(configs) > 1:
            raise JaxpartError(
                f"{folder} has several configurations; choose {name} with one of {', '.join(configs)}: "
                f"tfds:{match[1]}/{configs[0]}"
            )
        config = configs[0] if configs else None
    folder = folder / config if config else folder
    versions = _versions(folder)
    if version is None and versions:
        version = versions[-1]
    if version not in versions:
        known = f"; it has {', '.join(versions)}" if versions else ""
        raise JaxpartError(
            f"{folder} holds no prepared data set{f' of version {version}' if version else ''}{known}; "
            f"{ADVICE}, or pass its data directory as --config.data.root or TFDS_DATA_DIR"
        )
    return folder / version


def _versions(folder: pathlib.Path) -> list[str]:
    """Names of the version folders, oldest first."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if _VERSION.fullmatch(path.name)]
    return sorted(names, key=lambda name: [int(number) for number in name.split(".")])


def _check_features(folder: pathlib.Path) -> None:
    """Refuses features for which a module other than tensorflow-datasets' own would be imported."""
    path = folder / "features.json"
    try:
        pending = [parse_json(read_file(path))]
    except ValueError as error:
        raise _damaged(path, error) from error
    while pending:
        tree = pending.pop()
        if isinstance(tree, dict):
            # protocol buffers' JSON has both spellings, and the older files have "type"
            for key in ("pythonClassName", "python_class_name", "type"):
                kind = tree.get(key)
                if isinstance(kind, str) and not kind.startswith(_FEATURES):
                    raise JaxpartError(
                        f"{path} names a feature {kind!r}, which is not of tensorflow-datasets; "
                        "prepare the data set with its features alone"
                    )
            pending += tree.values()
        elif isinstance(tree, list):
            pending += tree


def _keys(name: str, info: Any, features: Any) -> tuple[str, str]:
    """Names of the image and of the class among the features."""
    supervised = info.supervised_keys or ()
    if not isinstance(info.features, features.FeaturesDict):
        raise JaxpartError(
            f"{name} has no named features; choose a data set of images with classes"
        )
    found = []
    for kind, what in ((features.Image, "image"), (features.ClassLabel, "class")):
        keys = [key for key, feature in info.features.items() if type(feature) is kind]
        chosen = [key for key in keys if key in supervised] or keys
        if len(chosen) != 1:
            raise JaxpartError(
                f"{name} has {len(chosen)} features that could be its {what}"
                f"{': ' + ', '.join(chosen) if chosen else ''}; choose a data set with one"
            )
        found += chosen
    if not 0 < (info.features[found[1]].num_classes or 0) <= _MAX_CLASSES:
        raise JaxpartError(
            f"{name} does not tell the number of its classes, or more than {_MAX_CLASSES:,}; choose another"
        )
    return found[0], found[1]
