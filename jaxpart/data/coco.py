"""COCO person keypoints from the official files: persons with 17 keypoints."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

from jaxpart.data.folders import dataset_folder, read_file
from jaxpart.data.parts import COCO_PARTS, PartSelection
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints, Record
from jaxpart.errors import JaxpartError

_ADVICE = (
    "unpack annotations_trainval2017.zip and the images (https://cocodataset.org/#download) there"
)
_SEEN = 2
"""Visibility: 0 not labelled, 1 labelled but hidden, 2 labelled and seen."""


class CocoPersons:
    """The images of COCO that have annotated persons, as a `Source`.

    Images come in the published loader's order: by the first person in the annotation file that
    contributes to the selected parts (images without one last); persons in the file's order. Part ids are 1-based (1 nose … 17 right ankle), instances are annotation ids.
    """

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
        file = f"annotations/person_keypoints_{split}.json"
        self._root = dataset_folder(root, "coco", file, _ADVICE)
        self._path, self._split = self._root / file, split
        document = self._document()
        names = self._names(document)
        self._file_names: list[str] = []
        self._persons: list[list[tuple[int, int, list[float]]]] = []  # (line, id, keypoints)
        self._read_persons(document["annotations"], names, 3 * len(document["part_names"]))
        self._order(selection)
        self.info = DatasetInfo(
            name="coco_person_parts",
            split=split,
            version="1",
            part_names=dict(enumerate(document["part_names"], 1)),
        )

    def _document(self) -> dict[str, Any]:
        try:
            document = json.loads(read_file(self._path))
        except ValueError as error:
            raise JaxpartError(f"{self._path} is damaged ({error}); unpack it again") from error
        for field in ("images", "annotations", "categories"):
            if not isinstance(document, dict) or not document.get(field):
                raise JaxpartError(f"{self._path}: the field {field!r} is missing or empty")
        person = document["categories"][0]
        if not person.get("keypoints"):
            raise JaxpartError(
                f"{self._path}: categories[0] names no 'keypoints'; give the person_keypoints file"
            )
        return document | {"part_names": person["keypoints"]}

    def _names(self, document: dict[str, Any]) -> dict[int, str]:
        names: dict[int, str] = {}
        for i, image in enumerate(document["images"]):
            try:
                key, name = image["id"], image["file_name"]
            except (KeyError, TypeError) as error:
                raise JaxpartError(f"{self._path}: images[{i}] lacks the field {error}") from None
            if key in names:
                raise JaxpartError(f"{self._path}: images[{i}] repeats the id {key}")
            names[key] = name
        return names

    def _read_persons(self, annotations: list[Any], names: dict[int, str], numbers: int) -> None:
        place: dict[int, int] = {}
        seen: set[int] = set()
        for i, person in enumerate(annotations):
            where = f"{self._path}: annotations[{i}]"
            try:
                key, image, points = person["id"], person["image_id"], person["keypoints"]
            except (KeyError, TypeError) as error:
                raise JaxpartError(f"{where} lacks the field {error}") from None
            if key in seen:
                raise JaxpartError(f"{where} repeats the id {key}")
            if image not in names:
                raise JaxpartError(f"{where} belongs to image {image}, which is not in 'images'")
            if len(points) != numbers:
                raise JaxpartError(f"{where} has {len(points)} keypoint numbers instead of {numbers}")
            seen.add(key)
            if image not in place:
                place[image] = len(self._file_names)
                self._file_names.append(names[image])
                self._persons.append([])
            self._persons[place[image]].append((i, key, points))

    def _order(self, selection: PartSelection) -> None:
        """Puts the images into the order of their first contributing person."""
        flags = [3 * part - 1 for part in selection.parts]

        def first(persons: list[tuple[int, int, list[float]]]) -> float:
            return next(
                (
                    line
                    for line, _, points in persons
                    if sum(points[flag] == _SEEN for flag in flags) >= selection.min_parts
                ),
                float("inf"),
            )

        pairs = zip(self._persons, self._file_names, strict=True)
        ordered = sorted(pairs, key=lambda pair: first(pair[0]))
        self._persons = [persons for persons, _ in ordered]
        self._file_names = [name for _, name in ordered]

    def __len__(self) -> int:
        """Number of images with annotated persons."""
        return len(self._file_names)

    def annotation(self, index: int) -> Annotation:
        """Keypoints of all persons of an image."""
        persons = self._persons[index]
        points = np.array([points for _, _, points in persons], np.float64).reshape(-1, 3)
        count = len(self.info.part_names)
        keypoints = Keypoints(
            part=np.tile(np.arange(1, count + 1), len(persons)),
            xy=points[:, :2],
            visible=points[:, 2] == _SEEN,
            instance=np.repeat(np.array([key for _, key, _ in persons], np.int64), count),
        )
        return Annotation(f"{self._split}/{self._file_names[index]}", keypoints)

    def __getitem__(self, index: int) -> Record:
        """An image with its annotation."""
        annotation = self.annotation(index)
        return Record(annotation, read_file(self._root / annotation.id))
