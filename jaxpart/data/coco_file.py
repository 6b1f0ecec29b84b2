"""Annotation files in COCO's keypoint format (images, annotations, categories as json)."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from jaxpart.errors import JaxpartError

SEEN = 2
"""Visibility: 0 not labelled, 1 labelled but hidden, 2 labelled and seen."""


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


class CocoFile:
    """A keypoint file, checked field by field as it is asked for.

    Every method raises `JaxpartError` naming the file, the entry and the field that is wrong.
    """

    def __init__(self, path: pathlib.Path, data: bytes) -> None:
        """Parses `data`, the content of `path`."""
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
        good = np.isfinite(points).all(axis=2) & np.isin(points[:, :, 2], (0, 1, SEEN))
        if not good.all():
            row, part = np.argwhere(~good)[0].tolist()
            raise JaxpartError(
                f"{self._path}: annotations[{row}].keypoints has {points[row, part].tolist()} for "
                f"part {part + 1} instead of x, y and a visibility of 0, 1 or 2"
            )
        return points

    def file_names(self, image_ids: Iterable[int]) -> list[str]:
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

    def image_ids(self) -> list[int]:
        """Ids of all images, in the order of the file."""
        return self._unique_ids("images").tolist()

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
