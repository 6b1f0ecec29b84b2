"""COCO person keypoints from the official files: persons with 17 keypoints."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxpart.data.folders import dataset_folder, fingerprint, read_file
from jaxpart.data.parts import COCO_PARTS, PartSelection
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints, Record
from jaxpart.errors import JaxpartError

_ADVICE = (
    "unpack annotations_trainval2017.zip and the images (https://cocodataset.org/#download) there"
)
_SPLITS = ("train2017", "val2017")
_SEEN = 2
"""Visibility: 0 not labelled, 1 labelled but hidden, 2 labelled and seen."""


class CocoPersons:
    """The images of COCO that have annotated persons, as a `Source`.

    Images come in the published loader's order: by the first person in the annotation file that
    contributes to the selected parts; images without such a person follow, by their first person.
    Within an image, persons keep the file's order. Part ids are 1-based (1 nose … 17 right ankle),
    instances are annotation ids, and only points with v = 2 are visible.
    """

    info: DatasetInfo

    def __init__(
        self,
        root: str | pathlib.Path,
        split: str = "train2017",
        selection: PartSelection = COCO_PARTS,
    ) -> None:
        """Reads the annotations.

        Args:
          root: The folder that holds `annotations` and the image folders, or one above it ("coco").
          split: "train2017" or "val2017".
          selection: The parts that decide the order of the images; all keypoints are kept.

        Raises:
          JaxpartError: The layout is wrong, or a field of the annotation file is.
        """
        if split not in _SPLITS:
            raise JaxpartError(f"COCO has no person keypoints {split!r}; choose one of {_SPLITS}")
        file = f"annotations/person_keypoints_{split}.json"
        self._root = dataset_folder(root, "coco", [file], _ADVICE)
        data = read_file(self._root / file)
        document = _Document(self._root / file, data)
        part_names = document.part_names()
        self.info = DatasetInfo(
            name="coco_person_parts",
            split=split,
            version=fingerprint(
                data, repr((sorted(selection.parts), selection.min_parts_per_instance))
            ),
            part_names=dict(enumerate(part_names, 1)),
        )
        selection.check(self.info)
        image, person = document.persons()
        points = document.points(len(part_names))
        visible = points[:, :, 2] == _SEEN

        selected = visible[:, [part - 1 for part in selection.parts]].sum(axis=1)
        contributing = image[selected >= selection.min_parts_per_instance]
        order = dict.fromkeys(itertools.chain(contributing.tolist(), image.tolist()))
        names = document.file_names(order)
        self._ids = [f"{split}/{name}" for name in names]
        rank = {key: index for index, key in enumerate(order)}
        index = np.array([rank[key] for key in image.tolist()])
        rows = np.argsort(index, kind="stable")
        self._persons, self._xy, self._visible = person[rows], points[rows, :, :2], visible[rows]
        counts = np.bincount(index)
        self._starts = [0, *np.cumsum(counts).tolist()]
        self._parts = np.tile(np.arange(1, len(part_names) + 1), counts.max())

    def __len__(self) -> int:
        """Number of images with annotated persons."""
        return len(self._ids)

    def annotation(self, index: int) -> Annotation:
        """Keypoints of all persons of an image."""
        name = self._ids[index]
        index %= len(self._ids)
        rows = slice(self._starts[index], self._starts[index + 1])
        persons, visible = self._persons[rows], self._visible[rows]
        keypoints = Keypoints(
            part=self._parts[: visible.size],
            xy=self._xy[rows].reshape(-1, 2),
            visible=visible.reshape(-1),
            instance=persons.repeat(visible.shape[1]),
        )
        return Annotation(name, keypoints)

    def __getitem__(self, index: int) -> Record:
        """An image with its annotation."""
        annotation = self.annotation(index)
        return Record(annotation, read_file(self._root / annotation.id))


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Spares a parser the search for cycles: 40 % of the time of the train2017 file."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Document:
    """The annotation file, checked field by field as it is asked for."""

    def __init__(self, path: pathlib.Path, data: bytes) -> None:
        self._path = path
        if not data.strip():
            raise JaxpartError(f"{path} is empty; unpack it again")
        try:
            with _without_garbage_collection():
                document = json.loads(data)
        except ValueError as error:
            raise JaxpartError(f"{path} is damaged ({error}); unpack it again") from error
        self._tables: dict[str, list[dict[str, Any]]] = {}
        for section in ("images", "annotations", "categories"):
            rows = document.get(section) if isinstance(document, dict) else None
            if not isinstance(rows, list) or not rows:
                raise JaxpartError(f"{path}: the field {section!r} is missing or empty")
            self._tables[section] = rows

    def part_names(self) -> list[str]:
        """Names of the keypoints, in the order of their 1-based ids."""
        names = self._column("categories", "keypoints")[0]
        if not names or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise JaxpartError(f"{self._path}: categories[0].keypoints is not a list of names")
        return names

    def persons(self) -> tuple[np.ndarray, np.ndarray]:
        """(image id, annotation id) of each person, int64."""
        person = self._unique_ids("annotations")
        image = self._integers("annotations", "image_id")
        known = np.isin(image, self._unique_ids("images"))
        if not known.all():
            row = int(np.argmin(known))
            raise JaxpartError(
                f"{self._path}: annotations[{row}] belongs to image {image[row]}, which is not in "
                "'images'"
            )
        return image, person

    def points(self, parts: int) -> np.ndarray:
        """(x, y, v) of each person's keypoints, float64 [persons, parts, 3]."""
        rows = self._column("annotations", "keypoints")
        for row, numbers in enumerate(rows):
            if not isinstance(numbers, list) or len(numbers) != 3 * parts:
                raise JaxpartError(
                    f"{self._path}: annotations[{row}].keypoints is no list of {3 * parts} numbers"
                )
        flat = list(itertools.chain.from_iterable(rows))
        wrong = set(map(type, flat)) - {int, float}
        if wrong:
            at = next(i for i, number in enumerate(flat) if type(number) in wrong)
            raise JaxpartError(
                f"{self._path}: annotations[{at // (3 * parts)}].keypoints holds {flat[at]!r}, "
                "which is no number"
            )
        points = np.array(flat, np.float64).reshape(-1, parts, 3)
        good = np.isfinite(points).all(axis=2) & np.isin(points[:, :, 2], (0, 1, _SEEN))
        if not good.all():
            row, part = np.argwhere(~good)[0].tolist()
            raise JaxpartError(
                f"{self._path}: annotations[{row}].keypoints has {points[row, part].tolist()} for "
                f"part {part + 1} instead of x, y and a visibility of 0, 1 or 2"
            )
        return points

    def file_names(self, image_ids: dict[int, None]) -> list[str]:
        """File name of each image."""
        ids = self._unique_ids("images").tolist()
        column = self._column("images", "file_name")
        seen: set[str] = set()
        for row, name in enumerate(column):
            if type(name) is not str or name in seen:
                fault = "repeats the name" if type(name) is str else "cannot have the name"
                raise JaxpartError(f"{self._path}: images[{row}] {fault} {name!r}")
            seen.add(name)
        names = dict(zip(ids, column, strict=True))
        return [names[key] for key in image_ids]

    def _unique_ids(self, section: str) -> np.ndarray:
        ids = self._integers(section, "id")
        values, first = np.unique(ids, return_index=True)
        if len(values) < len(ids):
            row = int(np.setdiff1d(np.arange(len(ids)), first)[0])
            raise JaxpartError(f"{self._path}: {section}[{row}] repeats the id {ids[row]}")
        return ids

    def _integers(self, section: str, field: str) -> np.ndarray:
        values = self._column(section, field)
        if set(map(type, values)) != {int}:
            row = next(i for i, value in enumerate(values) if type(value) is not int)
            raise JaxpartError(
                f"{self._path}: {section}[{row}].{field} is {values[row]!r}, which is no integer"
            )
        return np.array(values, np.int64)

    def _column(self, section: str, field: str) -> list[Any]:
        rows = self._tables[section]
        try:
            return [row[field] for row in rows]
        except (KeyError, TypeError):
            row = next(
                i for i, row in enumerate(rows) if not isinstance(row, dict) or field not in row
            )
            raise JaxpartError(
                f"{self._path}: {section}[{row}] lacks the field {field!r}"
            ) from None
