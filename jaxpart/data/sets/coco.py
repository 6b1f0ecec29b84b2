"""COCO person keypoints from the official files: persons with 17 keypoints."""

from __future__ import annotations

import functools
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np

from jaxpart.data.coco_file import SEEN, CocoFile
from jaxpart.data.folders import NotThere, existing_files, fingerprint, matched, read_file
from jaxpart.data.indexes import kept_annotations, kept_document
from jaxpart.data.layouts import Layout, only_folder, the_one, unpacked
from jaxpart.data.parts import COCO_PARTS, PartSelection
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints, Record
from jaxpart.errors import JaxpartError

ADVICE = (
    "unpack annotations_trainval2017.zip and the images (https://cocodataset.org/#download) there"
)
SPLITS = ("train2017", "val2017")
_SIDED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_NAMES = ("nose", *(f"{side}_{part}" for part in _SIDED for side in ("left", "right")))
"""The official keypoints, by part id from 1."""


class CocoPersons:
    """The images of COCO that have annotated persons, as a `Source`.

    Images are in the published loader's order: by the first person in the annotation file that
    contributes to the selected parts; images without such a person follow, by their first person.
    Within an image, persons keep the file's order. Part ids are the official ones (1 nose … 17 right
    ankle), matched by name; instances are annotation ids, and only points with v = 2 are visible.
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
          root: The folder with `annotations` and the image folders, or one above it ("coco").
          split: "train2017" or "val2017".
          selection: The parts that determine the order of the images; all keypoints are kept.

        Raises:
          JaxpartError: The layout is wrong, or a field of the annotation file is invalid.
        """
        if split not in SPLITS:
            raise JaxpartError(f"COCO has no person keypoints {split!r}; choose one of {SPLITS}")
        folder, file = _annotation_file(pathlib.Path(root), split)
        images = image_folder(folder, split)
        self._root = images.parent
        data = read_file(file)
        version = fingerprint(
            data, repr((sorted(selection.parts), selection.min_parts_per_instance))
        )
        existing = existing_files(images)
        read = functools.cache(lambda: _read(file, data, split, selection, existing))
        key = f"{version} {fingerprint(*existing)} {file.resolve()}"
        names, notes = kept_document(f"{key} names", lambda: read()[:2])
        self.info = DatasetInfo(
            name="coco_person_parts",
            split=split,
            version=version,
            part_names={part: name for part, name in names},
            notes=tuple(notes),
        )
        selection.check(self.info)
        self._annotations = kept_annotations(key, lambda: read()[2])

    def __len__(self) -> int:
        """Number of images with annotated persons."""
        return len(self._annotations)

    def annotation(self, index: int) -> Annotation:
        """Keypoints of all persons of an image."""
        return self._annotations[range(len(self))[index]]

    def origin(self, index: int) -> tuple[str, ...]:
        """The image's file."""
        return (f"{self._root}/{self.annotation(index).id}",)

    def __getitem__(self, index: int) -> Record:
        """An image with its annotation."""
        annotation = self.annotation(index)
        return Record(annotation, read_file(self._root / annotation.id))


def _read(
    file: pathlib.Path,
    data: bytes,
    split: str,
    selection: PartSelection,
    existing: Sequence[str],
) -> tuple[list[tuple[int, str]], tuple[str, ...], list[Annotation]]:
    """Names of the parts by id, notes, and the annotations of `CocoPersons`, from the content of a file."""
    document = CocoFile(file, data)
    instances = document.instances(known=_NAMES)
    visible = instances.points[:, 2] == SEEN
    selected_rows = instances.row[visible & np.isin(instances.part, list(selection.parts))]
    num_selected = np.bincount(selected_rows, minlength=len(instances.image))
    contributing = instances.image[num_selected >= selection.min_parts_per_instance]
    order = dict.fromkeys(itertools.chain(contributing.tolist(), instances.image.tolist()))
    names = matched(document.file_names(order), existing, file)
    sizes = document.sizes()
    rank = {key: index for index, key in enumerate(order)}
    index = np.array([rank[key] for key in instances.image.tolist()])[instances.row]
    rows = np.argsort(index, kind="stable")
    starts = np.cumsum(np.bincount(index, minlength=len(order)))[:-1]
    columns = instances.part, instances.points[:, :2], visible, instances.instance[instances.row]
    groups = zip(*(np.split(values[rows], starts) for values in columns), strict=True)
    annotations = [
        Annotation(f"{split}/{name}", Keypoints(*keypoints), size=sizes[key])
        for key, name, keypoints in zip(order, names, groups, strict=True)
    ]
    return list(instances.part_names.items()), instances.notes(), annotations


def _annotation_file(root: pathlib.Path, split: str) -> tuple[pathlib.Path, pathlib.Path]:
    """COCO's folder, and a split's file of person keypoints in it."""
    name = f"person_keypoints_{split}.json"
    for parent in ("annotations", "annotations/annotations"):
        layout = Layout(("coco", "COCO", "coco2017"), (f"{parent}/{name}",), distinctive=True)
        folder = layout.folder(root, "COCO")
        if folder is not None:
            return folder, folder / parent / name
    raise NotThere(f"{root} holds no coco: annotations/{name} is missing; {ADVICE}")


def image_folder(folder: pathlib.Path, split: str) -> pathlib.Path:
    """The folder with a split's images, in COCO's folder or beside it; folder/split if there is none.

    Raises:
      JaxpartError: Several folders match.
    """
    candidates = (folder, folder / "images", folder.parent, folder.parent / "images")
    for parents in (candidates[:2], candidates[2:]):
        matches = [unpacked(parent, split) for parent in parents if (parent / split).is_dir()]
        if matches:
            return the_one(matches, folder, f"the images of {split}")
    return only_folder(folder, lambda f: f.name == split, split) or folder / split
