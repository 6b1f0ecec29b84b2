"""CUB-200-2011 from its official folder: birds with 15 keypoints and 200 species."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from jaxtyping import Float64

from jaxpart.data.folders import check_split, fingerprint, named_files, read_file, read_lines
from jaxpart.data.layouts import dataset_folder
from jaxpart.data.listed_images import ListedImages
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints
from jaxpart.errors import JaxpartError

ADVICE = (
    "unpack CUB_200_2011.tgz (Caltech, https://www.vision.caltech.edu/datasets/cub_200_2011/) there"
)
_FILES = (
    "images.txt",
    "train_test_split.txt",
    "image_class_labels.txt",
    "classes.txt",
    "parts/parts.txt",
    "parts/part_locs.txt",
)
_T = TypeVar("_T")


class Cub(ListedImages):
    """CUB-200-2011 as a `Source`, in the order of images.txt.

    Keypoints are in pixels with the part ids of parts/parts.txt (1 to 15); each image is one
    instance, with id 0. Labels are the species, from 0.
    """

    def __init__(self, root: str | pathlib.Path, split: str = "all") -> None:
        """Reads the annotations.

        Args:
          root: The folder CUB_200_2011, or one above it.
          split: "train", "test" (of train_test_split.txt) or "all".

        Raises:
          JaxpartError: The layout is wrong, or a line of an annotation file is invalid.
        """
        check_split("CUB", split, ("all", "train", "test"))
        folder = dataset_folder(root, "CUB_200_2011", _FILES, ADVICE)
        images, in_train, labels, classes, parts, locations = (folder / file for file in _FILES)
        names, species, part_names = _names(images), _names(classes), _names(parts)
        files = named_files(folder / "images", list(names.values()), images)
        names = dict(zip(names, files, strict=True))
        label = dict(zip(species, range(len(species)), strict=True))
        labelled = _complete(names, labels, _table(labels, lambda word: label[int(word)]))
        train = _complete(names, in_train, _table(in_train, _flag))
        keypoints = _keypoints(locations, names, part_names)
        self._numbers = [
            image for image in names if split == "all" or train[image] == (split == "train")
        ]
        annotations = [
            Annotation(f"images/{names[image]}", keypoints[image], labelled[image])
            for image in self._numbers
        ]
        info = DatasetInfo(
            name="cub_parts",
            split=split,
            version=fingerprint(*(read_file(folder / file) for file in _FILES)),
            part_names={part: name.replace(" ", "_") for part, name in part_names.items()},
            class_names=tuple(species.values()),
        )
        super().__init__(folder, annotations, info)

    def boxes(self) -> Float64[np.ndarray, "image 4"]:
        """(left, top, width, height) of each bird's box in pixels, from bounding_boxes.txt.

        Raises:
          JaxpartError: The file or a line is missing, or a line is not a box.
        """
        path = self._root / "bounding_boxes.txt"
        table = _table(path, _box)
        for image in self._numbers:
            if image not in table:
                raise JaxpartError(
                    f"{path} has no line for image {image}; unpack the data set again"
                )
        return np.array([table[image] for image in self._numbers])

    @property
    def segmentations(self) -> pathlib.Path | None:
        """The folder of segmentations.tgz, in CUB_200_2011 or beside it; None if missing."""
        for folder in (self._root / "segmentations", self._root.parent / "segmentations"):
            if folder.is_dir():
                return folder
        return None


def _flag(word: str) -> bool:
    return {"0": False, "1": True}[word]


def _box(words: str) -> tuple[float, ...]:
    x, y, width, height = (float(word) for word in words.split())
    if not (0 < width < np.inf and 0 < height < np.inf and np.isfinite(x + y)):
        raise ValueError(words)
    return x, y, width, height


def _table(path: pathlib.Path, parse: Callable[[str], _T]) -> dict[int, _T]:
    """A file of lines "id value", by id."""
    table: dict[int, _T] = {}
    for number, line in enumerate(read_lines(path), 1):
        try:
            key, value = line.split(maxsplit=1)
            entry = int(key), parse(value.strip())
        except (ValueError, KeyError):
            raise JaxpartError(
                f"{path}, line {number}: {line[:80]!r} is not an id and a value known to the "
                "other files; unpack the data set again"
            ) from None
        if entry[0] in table:
            raise JaxpartError(f"{path}, line {number}: the id {entry[0]} appears twice")
        table[entry[0]] = entry[1]
    return table


def _names(path: pathlib.Path) -> dict[int, str]:
    """A file of lines "id name", by id; no name appears twice."""
    names = _table(path, str)
    first: dict[str, int] = {}
    for key, name in names.items():
        if first.setdefault(name, key) != key:
            raise JaxpartError(f"{path}: the ids {first[name]} and {key} are both {name}")
    return names


def _complete(names: dict[int, str], path: pathlib.Path, table: dict[int, _T]) -> dict[int, _T]:
    """Checks that a table has a line for each image, and returns it."""
    for image in names:
        if image not in table:
            raise JaxpartError(
                f"{path} has no line for image {image} of images.txt; unpack the data set again"
            )
    return table


def _keypoints(
    path: pathlib.Path, names: dict[int, str], part_names: dict[int, str]
) -> dict[int, Keypoints]:
    """The keypoints of each image, in the order of part_locs.txt."""
    rows = _locations(path)
    image, part = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    _reject(path, ~np.isin(image, list(names)), image, "the image id {} is not in images.txt")
    _reject(path, ~np.isin(part, list(part_names)), part, "the part id {} is not in parts.txt")
    _, first = np.unique(np.stack([image, part], axis=1), axis=0, return_index=True)
    repeated = np.ones(len(rows), bool)
    repeated[first] = False
    _reject(path, repeated, part, "the part id {} appears twice for its image")

    order = np.argsort(image, kind="stable")
    ids, starts = np.unique(image[order], return_index=True)
    table = {
        key: Keypoints(
            part=part[group],
            xy=rows[group, 2:4],
            visible=rows[group, 4] == 1,
            instance=np.zeros(len(group), np.int64),
        )
        for key, group in zip(ids.tolist(), np.split(order, starts[1:]), strict=True)
    }
    return _complete(names, path, table)


def _locations(path: pathlib.Path) -> np.ndarray:
    """Rows (image id, part id, x, y, visible) of part_locs.txt, float64."""
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            image, part, x, y, visible = line.split()
            row = (float(int(image)), float(int(part)), float(x), float(y), _flag(visible))
        except (ValueError, KeyError, OverflowError):
            row = (0, 0, np.nan, np.nan, False)
        if not np.isfinite(row[2] + row[3]):
            raise JaxpartError(
                f"{path}, line {number}: {line[:80]!r} is not image id, part id, x, y and a "
                "visibility of 0 or 1; unpack the data set again"
            )
        rows.append(row)
    return np.array(rows, np.float64)


def _reject(path: pathlib.Path, wrong: np.ndarray, values: np.ndarray, fault: str) -> None:
    """Raises `JaxpartError` for the first line marked as wrong."""
    if wrong.any():
        row = int(np.argmax(wrong))
        raise JaxpartError(f"{path}, line {row + 1}: {fault.format(values[row])}")
