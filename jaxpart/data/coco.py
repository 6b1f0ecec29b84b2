"""COCO person keypoints from the official files: persons with 17 keypoints."""

from __future__ import annotations

import itertools
import pathlib

import numpy as np

from jaxpart.data.coco_file import SEEN, CocoFile
from jaxpart.data.folders import dataset_folder, fingerprint, read_file
from jaxpart.data.parts import COCO_PARTS, PartSelection
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints, Record
from jaxpart.errors import JaxpartError

ADVICE = (
    "unpack annotations_trainval2017.zip and the images (https://cocodataset.org/#download) there"
)
SPLITS = ("train2017", "val2017")


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
        if split not in SPLITS:
            raise JaxpartError(f"COCO has no person keypoints {split!r}; choose one of {SPLITS}")
        file = f"annotations/person_keypoints_{split}.json"
        self._root = dataset_folder(root, "coco", [file], ADVICE)
        data = read_file(self._root / file)
        document = CocoFile(self._root / file, data)
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
        visible = points[:, :, 2] == SEEN

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

    def origin(self, index: int) -> tuple[str, ...]:
        """The image's file."""
        return (f"{self._root}/{self._ids[index]}",)

    def __getitem__(self, index: int) -> Record:
        """An image with its annotation."""
        annotation = self.annotation(index)
        return Record(annotation, read_file(self._root / annotation.id))
