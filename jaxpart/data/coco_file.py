"""Annotation files in COCO's JSON format, and their keypoints."""

from __future__ import annotations

import contextlib
import gc
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxpart.data.folders import composed, unusable_name
from jaxpart.errors import JaxpartError, printable
from jaxpart.io.text import decode_json

_LARGEST_SIDE = 2**63
"""Limit for the position and the sides of a box, in pixels."""
HIDDEN, SEEN = 1, 2
"""Visibility: 0 not labelled, 1 labelled but hidden, 2 labelled and seen."""
INSTANCE_GAP = 100_000
"""Between ids of instances in one image, as in COCO: keypoints of two are never nearest neighbours."""

_LONGEST = 1 << 31
"""Limit for the sides of an image, in pixels."""


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Disables the garbage collector, which takes 40 % of the parsing time for train2017."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Instances(NamedTuple):
    """The annotated objects of a file, in its order, and their keypoints.

    Attributes:
      image: Image id of each object, int64 [objects].
      instance: Annotation id of each object, int64 [objects].
      row: Index of the object that each keypoint belongs to, ascending, int64 [points].
      part: Part id of each keypoint, int64 [points].
      points: (x, y, v) of each keypoint, float64 [points, 3].
      part_names: Names by part id.
    """

    image: np.ndarray
    instance: np.ndarray
    row: np.ndarray
    part: np.ndarray
    points: np.ndarray
    part_names: Mapping[int, str]

    def notes(self) -> tuple[str, ...]:
        """Notes for `DatasetInfo.notes`: no keypoint is visible, or some are in the corner."""
        hidden, seen = (int((self.points[:, 2] == v).sum()) for v in (HIDDEN, SEEN))
        if hidden and not seen:
            return (
                f"all {hidden} labelled keypoints are labelled but not visible (v = 1), and only visible "
                "ones (v = 2) give patches",
            )
        if corner := int((self.points == (0, 0, SEEN)).all(axis=1).sum()):
            return (
                f"visible keypoints at (0, 0), as some tools write missing ones: {corner}; give those that "
                "are missing the visibility 0",
            )
        return ()


def _is_length(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= _LONGEST


class CocoFile:
    """An annotation file whose fields are checked on access.

    Every method raises `JaxpartError`, naming the file, the entry and the invalid field.

    Attributes:
      path: The file.
    """

    def __init__(self, path: pathlib.Path, data: bytes) -> None:
        """Parses `data`, the content of `path`."""
        self.path = path
        if not data.strip():
            raise JaxpartError(f"{path} is empty; unpack it again")
        with _without_garbage_collection():
            document = decode_json(data, path)
        self._tables: dict[str, list[dict[str, Any]]] = {}
        for section in ("images", "annotations", "categories"):
            rows = document.get(section) if isinstance(document, dict) else None
            if not isinstance(rows, list) or not rows:
                raise JaxpartError(f"{path}: the field {section!r} is missing or empty")
            self._tables[section] = rows

    def instances(self, known: Sequence[str] = ()) -> Instances:
        """The annotated objects with their keypoints, named by each object's category.

        Keypoints with the same name are the same part, in any category and position.
        Objects may lack keypoints (a box only, an empty list, null); unlabelled points (v is 0 or null) may
        have NaN or null coordinates.

        Args:
          known: Names that get the ids 1, 2, …; other names follow in file order.
        """
        image = self.annotated_images()
        lists = self._name_lists()
        id_of = {name: i for i, name in enumerate(known, 1)}
        for name in itertools.chain.from_iterable(lists.values()):
            id_of.setdefault(name, len(id_of) + 1)
        groups = []
        for category, group in self._rows_by_category(lists).items():
            names = lists[category]
            parts = np.tile(np.array([id_of[name] for name in names]), len(group))
            points = self._points(group, len(names)).reshape(-1, 3)
            groups.append((np.repeat(group, len(names)), parts, points))
        row, part, point = groups[0]
        if len(groups) > 1:  # one category is already in order: COCO needs no copies
            row, part, point = (np.concatenate(values) for values in zip(*groups, strict=True))
            order = np.argsort(row, kind="stable")
            row, part, point = row[order], part[order], point[order]
        xy = point[point[:, 2] == SEEN, :2]
        if len(xy) > 1 and (np.abs(xy) <= 1).all():
            raise JaxpartError(
                f"{self.path}: the visible keypoints lie between 0 and 1, as if relative to the image; "
                "give them in pixels"
            )
        used_names = set(itertools.chain.from_iterable(lists.values()))
        return Instances(
            image=image,
            instance=self.unique_ids("annotations"),
            row=row,
            part=part,
            points=point,
            part_names={key: name for name, key in id_of.items() if name in used_names},
        )

    def _name_lists(self) -> dict[int | None, list[str]]:
        """Keypoint names of each category that has keypoints, by category id."""
        lists: dict[int | None, list[str]] = {}
        for row, category in enumerate(self._tables["categories"]):
            names = category.get("keypoints") if isinstance(category, dict) else None
            if not names:
                continue
            where = f"{self.path}: categories[{row}]"
            if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
                raise JaxpartError(f"{where}.keypoints is not a list of names")
            names = [composed(name.strip()) for name in names]
            if type(category.get("id")) not in (int, type(None)):
                raise JaxpartError(
                    f"{where}.id is {printable(repr(category['id']))}, which is not an integer"
                )
            if len(set(names)) < len(names) or category.get("id") in lists:
                raise JaxpartError(f"{where} repeats a keypoint's name or another category's id")
            lists[category.get("id")] = names
        if not lists:
            raise JaxpartError(f"{self.path}: categories[0] lacks the field 'keypoints'")
        in_any_case: dict[str, str] = {}
        for names in lists.values():
            for name in names:
                other = in_any_case.setdefault(name.casefold(), name)
                if other != name and other not in names:
                    both = f"{printable(repr(other))} and {printable(repr(name))}"
                    raise JaxpartError(
                        f"{self.path}: the keypoints {both} of two categories differ in case alone; give "
                        "both the same name"
                    )
        return lists

    def _rows_by_category(
        self, lists: Mapping[int | None, Sequence[str]]
    ) -> dict[int | None, np.ndarray]:
        """Indices of the annotations that have keypoints, by category."""
        only = next(iter(lists)) if len(lists) == 1 else None
        rows: dict[int | None, list[int]] = {}
        for row, annotation in enumerate(self._tables["annotations"]):
            if annotation.get("keypoints"):
                category = annotation.get("category_id", only)
                if type(category) not in (int, type(None)):
                    where = f"{self.path}: annotations[{row}].category_id"
                    raise JaxpartError(f"{where} is {printable(repr(category))}, not an integer")
                rows.setdefault(category, []).append(row)
        for category, group in rows.items():
            if category not in lists:
                raise JaxpartError(
                    f"{self.path}: annotations[{group[0]}] has keypoints, but 'categories' lists none "
                    f"for its category {printable(repr(category))}"
                )
        if not rows:
            raise JaxpartError(f"{self.path}: no annotation has keypoints")
        return {category: np.array(group) for category, group in rows.items()}

    def annotated_images(self) -> np.ndarray:
        """The image id of each annotation, int64."""
        image = self.integers("annotations", "image_id")
        known = np.isin(image, self.unique_ids("images"))
        if not known.all():
            row = int(np.argmin(known))
            raise JaxpartError(
                f"{self.path}: annotations[{row}] belongs to image {image[row]}, which is not in "
                "'images'"
            )
        return image

    def _points(self, rows: np.ndarray, parts: int) -> np.ndarray:
        """(x, y, v) of the keypoints of some annotations, float64 [rows, parts, 3]."""
        lists = [self._tables["annotations"][row]["keypoints"] for row in rows.tolist()]
        for row, numbers in zip(rows.tolist(), lists, strict=True):
            if not isinstance(numbers, list) or len(numbers) != 3 * parts:
                raise JaxpartError(
                    f"{self.path}: annotations[{row}].keypoints is not a list of {3 * parts} numbers"
                )
        flat = list(itertools.chain.from_iterable(lists))
        wrong_types = set(map(type, flat)) - {int, float, type(None)}
        if wrong_types:
            position = next(i for i, number in enumerate(flat) if type(number) in wrong_types)
            raise JaxpartError(
                f"{self.path}: annotations[{rows[position // (3 * parts)]}].keypoints holds "
                f"{printable(repr(flat[position]))}, which is not a number"
            )
        try:
            points = np.array(flat, np.float64).reshape(-1, parts, 3)  # None becomes NaN
        except OverflowError:
            raise JaxpartError(
                f"{self.path}: 'annotations' hold a number that is not a pixel coordinate"
            ) from None
        v = points[:, :, 2]
        points[(v == 0) | (np.isnan(v) & np.isnan(points[:, :, 0] + points[:, :, 1]))] = 0
        valid = np.isfinite(points.sum(axis=2)) & ((v == 0) | (v == HIDDEN) | (v == SEEN))
        if not valid.all():
            row, part = np.argwhere(~valid)[0].tolist()
            raise JaxpartError(
                f"{self.path}: annotations[{rows[row]}].keypoints has {points[row, part].tolist()} for "
                f"part {part + 1} instead of x, y and a visibility of 0, 1 or 2"
            )
        return points

    def boxes(self, rows: Sequence[int]) -> np.ndarray | None:
        """Width and height of some annotations' boxes, float64 [rows, 2]; None if none has a box.

        Boxes of which some lie beyond their images, and all could be two corners, are refused.
        """
        boxes = [self._tables["annotations"][row].get("bbox") for row in rows]
        if not any(boxes):
            return None
        sides = []
        for row, box in zip(rows, boxes, strict=True):
            numbers = box if isinstance(box, list) and {*map(type, box)} <= {int, float} else []
            finite = all(abs(number) < _LARGEST_SIDE for number in numbers)
            if len(numbers) != 4 or not finite or min(numbers[2:]) <= 0:
                raise JaxpartError(
                    f"{self.path}: annotations[{row}].bbox is {printable(repr(box))}, not x, y, width and "
                    "height"
                )
            sides.append(numbers)
        found = np.array(sides, np.float64)
        sizes, images = self.sizes(), self.column("annotations", "image_id")
        bounds = np.array([sizes[images[row]] or (np.inf, np.inf) for row in rows])
        beyond = (found[:, :2] + found[:, 2:] > bounds + 1).any(axis=1)
        corners = (found[:, :2] < found[:, 2:]) & (found[:, 2:] <= bounds + 1)
        if beyond.any() and corners.all():
            row = rows[int(np.argmax(beyond))]
            raise JaxpartError(
                f"{self.path}: annotations[{row}].bbox lies beyond its image, and all boxes could be two "
                "corners; give x, y, width and height"
            )
        return found[:, 2:]

    def category_names(self, rows: Sequence[int], field: str = "name") -> list[str]:
        """The name, or another field, of some annotations' categories."""
        names = dict(
            zip(
                self.integers("categories", "id").tolist(),
                self.column("categories", field),
                strict=True,
            )
        )
        categories = [self._tables["annotations"][row].get("category_id") for row in rows]
        for row, category in zip(rows, categories, strict=True):
            if type(names.get(category)) is not str:
                raise JaxpartError(
                    f"{self.path}: annotations[{row}] is of category {category}, for which "
                    f"'categories' has no {field}"
                )
        return [names[category] for category in categories]

    def sizes(self) -> dict[int, tuple[int, int] | None]:
        """(width, height) in pixels of each image by its id; None if the file does not state it."""
        size_of = {}
        for row, (key, image) in enumerate(
            zip(self.unique_ids("images").tolist(), self._tables["images"], strict=True)
        ):
            sides = image.get("width"), image.get("height")
            if not all(side is None or _is_length(side) for side in sides):
                raise JaxpartError(
                    f"{self.path}: images[{row}] has the size {printable(repr(sides))}, which is not "
                    "a size in pixels"
                )
            width, height = sides
            size_of[key] = (int(width), int(height)) if width and height else None
        return size_of

    def file_names(self, image_ids: Iterable[int]) -> list[str]:
        """File name of each image."""
        ids = self.unique_ids("images").tolist()
        column = self.column("images", "file_name")
        seen: set[str] = set()
        for row, name in enumerate(column):
            fault = "is not a string" if type(name) is not str else unusable_name(name)
            fault = fault or ("is also another image's" if name in seen else "")
            if fault:
                raise JaxpartError(
                    f"{self.path}: images[{row}].file_name {fault}: {printable(repr(name))}"
                )
            seen.add(name)
        names = dict(zip(ids, column, strict=True))
        return [names[key] for key in image_ids]

    def image_ids(self) -> list[int]:
        """Ids of all images, in file order."""
        return self.unique_ids("images").tolist()

    def unique_ids(self, section: str) -> np.ndarray:
        """The `id` of each entry of a section, int64."""
        ids = self.integers(section, "id")
        values, first = np.unique(ids, return_index=True)
        if len(values) < len(ids):
            row = int(np.setdiff1d(np.arange(len(ids)), first)[0])
            raise JaxpartError(f"{self.path}: {section}[{row}] repeats the id {ids[row]}")
        return ids

    def integers(self, section: str, field: str) -> np.ndarray:
        """A field of each entry of a section, int64."""
        values = self.column(section, field)
        if set(map(type, values)) != {int}:
            row = next(i for i, value in enumerate(values) if type(value) is not int)
            raise JaxpartError(
                f"{self.path}: {section}[{row}].{field} is {printable(repr(values[row]))}, which is "
                "not an integer"
            )
        try:
            return np.array(values, np.int64)
        except OverflowError:
            raise JaxpartError(
                f"{self.path}: {section} holds the {field} of an entry that does not fit into 64 bits"
            ) from None

    def column(self, section: str, field: str) -> list[Any]:
        """A field of each entry of a section, of any type."""
        rows = self._tables[section]
        try:
            return [row[field] for row in rows]
        except (KeyError, TypeError):
            row = next(
                i for i, row in enumerate(rows) if not isinstance(row, dict) or field not in row
            )
            raise JaxpartError(f"{self.path}: {section}[{row}] lacks the field {field!r}") from None
