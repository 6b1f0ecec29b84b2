"""CUB-200-2011 from its official folder: birds with 15 keypoints and 200 species."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from jaxpart.data.folders import dataset_folder, read_file, read_lines
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints, Record
from jaxpart.errors import JaxpartError

_ADVICE = (
    "unpack CUB_200_2011.tgz (Caltech, https://www.vision.caltech.edu/datasets/cub_200_2011/) there"
)
_T = TypeVar("_T")


def _table(path: pathlib.Path, parse: Callable[[list[str]], _T], columns: int) -> dict[int, _T]:
    """A file of lines "id value…" by id."""
    table = {}
    for number, line in enumerate(read_lines(path), 1):
        words = line.split(maxsplit=columns - 1)
        try:
            key, value = int(words[0]), parse(words[1:])
        except (ValueError, IndexError):
            raise JaxpartError(
                f"{path}, line {number}: {line[:80]!r} does not have the {columns} columns expected; "
                f"unpack the data set again"
            ) from None
        if key in table:
            raise JaxpartError(f"{path}, line {number}: the id {key} stands there twice")
        table[key] = value
    return table


def _locations(path: pathlib.Path) -> np.ndarray:
    """Rows (image id, part id, x, y, visible) of part_locs.txt."""
    lines = read_lines(path)
    try:
        rows = np.loadtxt(lines, dtype=np.float64, ndmin=2)
        if rows.shape[1] == 5:
            return rows
    except ValueError:
        pass
    for number, line in enumerate(lines, 1):
        try:
            good = len([float(word) for word in line.split()]) == 5
        except ValueError:
            good = False
        if not good:
            raise JaxpartError(
                f"{path}, line {number}: {line[:80]!r} is not image id, part id, x, y, visible; "
                f"unpack the data set again"
            )
    raise JaxpartError(f"{path} does not have five columns; unpack the data set again")


class Cub:
    """CUB-200-2011 as a `Source`, in the order of images.txt.

    Keypoints are in pixels with the part ids of parts/parts.txt (1 to 15); labels are the species,
    from 0.
    """

    def __init__(self, root: str | pathlib.Path, split: str = "all") -> None:
        """Reads the annotations.

        Args:
          root: The folder CUB_200_2011, or the one that contains it.
          split: "train", "test" (of train_test_split.txt) or "all".

        Raises:
          JaxpartError: The layout is wrong, or a line of an annotation file is.
        """
        if split not in ("all", "train", "test"):
            raise JaxpartError(f"CUB has no split {split!r}; choose all, train or test")
        self._root = dataset_folder(root, "CUB_200_2011", "images.txt", _ADVICE)
        self._names = _table(self._root / "images.txt", lambda words: words[0], 2)
        in_train = _table(self._root / "train_test_split.txt", lambda words: int(words[0]), 2)
        labels = _table(self._root / "image_class_labels.txt", lambda words: int(words[0]), 2)
        classes = _table(self._root / "classes.txt", lambda words: words[0], 2)
        parts = _table(self._root / "parts" / "parts.txt", lambda words: words[0], 2)
        self._labels = self._for_each_image(labels, "image_class_labels.txt")
        if split != "all":
            wanted = int(split == "train")
            flags = self._for_each_image(in_train, "train_test_split.txt")
            self._names = {i: name for i, name in self._names.items() if flags[i] == wanted}
        self._ids = list(self._names)
        self._class_index = {key: index for index, key in enumerate(classes)}
        self._read_locations(parts)
        self.info = DatasetInfo(
            name="cub_parts",
            split=split,
            version="1",
            part_names={key: name.replace(" ", "_") for key, name in parts.items()},
            class_names=tuple(classes.values()),
        )

    def _for_each_image(self, table: dict[int, int], file: str) -> dict[int, int]:
        missing = next((i for i in self._names if i not in table), None)
        if missing is not None:
            raise JaxpartError(
                f"{self._root / file} has no line for image {missing} of images.txt; unpack the data "
                f"set again"
            )
        return table

    def _read_locations(self, parts: dict[int, str]) -> None:
        path = self._root / "parts" / "part_locs.txt"
        rows = _locations(path)
        strange = np.flatnonzero(~np.isin(rows[:, 1], list(parts)))
        if strange.size:
            line = int(strange[0])
            raise JaxpartError(
                f"{path}, line {line + 1}: part id {int(rows[line, 1])} is not in parts.txt"
            )
        order = np.argsort(rows[:, 0], kind="stable")
        self._rows = rows[order]
        self._image_of_row = self._rows[:, 0]

    def __len__(self) -> int:
        """Number of images."""
        return len(self._ids)

    def annotation(self, index: int) -> Annotation:
        """Keypoints and species of an image."""
        key = self._ids[index]
        start, stop = np.searchsorted(self._image_of_row, [key, key + 1])
        rows = self._rows[start:stop]
        keypoints = Keypoints(
            part=rows[:, 1].astype(np.int64),
            xy=rows[:, 2:4],
            visible=rows[:, 4] == 1,
            instance=np.zeros(len(rows), np.int64),
        )
        return Annotation(f"images/{self._names[key]}", keypoints, self._label(key))

    def _label(self, key: int) -> int:
        label = self._labels[key]
        if label not in self._class_index:
            raise JaxpartError(
                f"{self._root / 'image_class_labels.txt'}: image {key} has class {label}, which is not "
                f"in classes.txt"
            )
        return self._class_index[label]

    def __getitem__(self, index: int) -> Record:
        """An image with its annotation."""
        annotation = self.annotation(index)
        return Record(annotation, read_file(self._root / annotation.id))
