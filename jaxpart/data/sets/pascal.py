"""Pascal-Part and Pascal-Object from the annotations of Pascal-Part (.mat) and the images of VOC 2010."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from jaxpart.data.folders import (
    NotThere,
    by_stem,
    check_split,
    file_sizes,
    file_stamps,
    fingerprint,
    list_images,
    read_ids,
)
from jaxpart.data.indexes import kept_labels
from jaxpart.data.label_maps import (
    PAPER,
    SPLITS,
    LabelMaps,
    check_names,
    numbered,
    paper_layout,
    paper_pairs,
)
from jaxpart.data.layouts import Layout, find_layout, only_folder, unpacked
from jaxpart.data.listed_images import ListedImages
from jaxpart.data.masks import Labels
from jaxpart.data.sets.pascal_annotations import all_pairs, read_annotation
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError

ADVICE = (
    "unpack Annotations_Part of Pascal-Part (http://roozbehm.info/pascal-parts/pascal-parts.html) and "
    f"VOCdevkit of VOC 2010, or {PAPER} there"
)
OBJECTS = (
    "aeroplane", "bicycle", "bird", "bottle", "bus", "car", "cat", "cow", "dog", "horse", "motorbike",
    "person", "pottedplant", "sheep", "train", "tvmonitor",
)  # fmt: skip
"""The 16 objects with parts, sorted; the other four (boat, chair, sofa, table) are background."""

NUM_PARTS = 193
"""(object, part) pairs of the full annotations."""

_ANNOTATIONS = "Annotations_Part"
OFFICIAL = Layout(("pascal_part", "Pascal-Part"), (_ANNOTATIONS,), distinctive=True)
"""The layout of the unpacked annotations and VOC 2010."""

_LAYOUTS = {
    "part": {"official": OFFICIAL, "paper": paper_layout("pascal_part")},
    "object": {"official": OFFICIAL, "paper": paper_layout("pascal_semantic", "pascal_object")},
}
_VOC = ("VOCdevkit/VOC2010", "VOC2010", ".", "../VOCdevkit/VOC2010", "../VOC2010")


def pascal_part(root: str | pathlib.Path, split: str) -> Pascal | LabelMaps:
    """Pascal-Part as a `Source`, with a mask "part".

    Classes are all (object, part) pairs in the annotations of both splits, sorted: 193 in the full data
    set. Numbered parts ("wheel_1", "wheel_2") are one class. Where parts overlap, the later in the
    annotation wins. Objects without parts are background. Opening the folder reads every annotation once to
    list the classes; a prepared data set stores the list.

    Args:
      root: The folder that holds Annotations_Part and VOCdevkit/VOC2010, or img and ann of the
        paper's folder, whose order of the 193 classes is not public ("class 1" to "class 193"); or
        a folder above ("pascal_part").
      split: "train" or "val", or "all" annotated images, sorted (official folder only). The splits are
        VOC's own (VOCdevkit/VOC2010/ImageSets/Main); the paper's splits are only in its folder.

    Raises:
      JaxpartError: The layout is wrong, a file is missing, or an annotation is damaged.
    """
    return _open("pascal_part", "part", root, split, numbered(NUM_PARTS))


def pascal_object(root: str | pathlib.Path, split: str) -> Pascal | LabelMaps:
    """Pascal-Object as a `Source`, with a mask "object": the whole masks of the same annotations.

    Classes are the objects that have parts somewhere in the annotations, sorted: 16 in the full data
    set, as in the paper's published code. Where objects overlap, the later in the annotation wins.
    Arguments and errors are those of `pascal_part`; the paper's folder is called "pascal_semantic".
    """
    return _open("pascal_object", "object", root, split, ("background", *OBJECTS))


def _open(
    name: str, kind: str, root: str | pathlib.Path, split: str, paper_names: Sequence[str]
) -> Pascal | LabelMaps:
    layout, folder = find_layout(root, name, _LAYOUTS[kind], ADVICE)
    if layout == "official":
        classes = _AnnotatedParts if kind == "part" else _AnnotatedObjects
        return Pascal(name, split, folder, classes)
    check_split(f"the paper's folder of {name}", split, SPLITS)
    return LabelMaps(name, split, folder, paper_pairs(folder, split), kind, paper_names)


class Classes(Protocol):
    """Maps annotated objects and parts to labels.

    Attributes:
      kind: Kind of the mask, "part" or "object".
      names: Name of each label, background first.
    """

    kind: str
    names: tuple[str, ...]

    def of_object(self, whole: str) -> int | None:
        """The label of an object's pixels, before its parts are drawn; None leaves them unchanged."""
        ...

    def of_part(self, whole: str, part: str) -> int | None:
        """The label of a part; None leaves its pixels unchanged."""
        ...


class _AnnotatedParts:
    """A class for each pair of object and part, sorted."""

    kind = "part"

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._labels = {pair: label for label, pair in enumerate(pairs, 1)}
        self.names = ("background", *(" ".join(pair) for pair in pairs))

    def of_object(self, whole: str) -> int | None:
        return None

    def of_part(self, whole: str, part: str) -> int | None:
        return self._labels[whole, part]


class _AnnotatedObjects:
    """A class for each object that has a part, sorted."""

    kind = "object"

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.names = ("background", *sorted({whole for whole, _ in pairs}))

    def of_object(self, whole: str) -> int | None:
        return self.names.index(whole) if whole in self.names else 0

    def of_part(self, whole: str, part: str) -> int | None:
        return None


class Pascal(ListedImages):
    """The images annotated in .mat files as a `Source` with one mask, drawn on access."""

    def __init__(
        self,
        name: str,
        split: str,
        folder: pathlib.Path,
        classes: Classes | Callable[[Sequence[tuple[str, str]]], Classes],
    ) -> None:
        """Lists the files.

        Args:
          name: The data set.
          split: "train", "val" or "all".
          folder: The folder of `OFFICIAL`.
          classes: The classes; or a function of all annotated pairs of object and part, for which every
            annotation is read.

        Raises:
          JaxpartError: See `pascal_part`.
        """
        check_split(name, split, (*SPLITS, "all"))
        annotations = unpacked(folder, _ANNOTATIONS)
        mats = by_stem(str(annotations.relative_to(folder)), list_images(annotations, (".mat",)))
        voc = _voc_folder(folder)
        ids = sorted(mats)
        if split != "all":
            list_file = voc / "ImageSets" / "Main" / f"{split}.txt"
            if not list_file.exists():
                raise NotThere(
                    f"{list_file} is missing, so the split {split!r} is unknown; unpack all of "
                    "VOC 2010 there, or use the split 'all'"
                )
            ids = read_ids(list_file)
            missing = next((key for key in ids if key not in mats), None)
            if missing is not None:
                raise JaxpartError(
                    f"{list_file} lists {missing}, but {annotations / missing}.mat is missing; "
                    "unpack Annotations_Part again"
                )
        images = os.path.join(os.path.relpath(voc, folder), "JPEGImages").removeprefix("./")
        paths = [f"{images}/{key}.jpg" for key in ids]
        self._mats = [mats[key] for key in ids]
        if callable(classes):
            classes = classes(all_pairs(folder, file_stamps(folder, mats.values())))
        self._classes = classes
        check_names(folder, classes.names)
        files = file_sizes(folder, (*paths, *self._mats))
        info = DatasetInfo(
            name=name,
            split=split,
            version=fingerprint(files, repr(classes.names)),
            mask_names={classes.kind: classes.names},
        )
        super().__init__(folder, [Annotation(path) for path in paths], info)

    def origin(self, index: int) -> tuple[str, ...]:
        """The image and its annotation."""
        return *super().origin(index), f"{self._root}/{self._mats[index]}"

    def __getitem__(self, index: int) -> Record:
        """An image with its mask."""
        mask = kept_labels(self, index, lambda: self._draw(index))
        return dataclasses.replace(super().__getitem__(index), masks={self._classes.kind: mask})

    def _draw(self, index: int) -> Labels:
        objects = read_annotation(self._root / self._mats[index])
        labels = np.zeros(objects[0].whole.mask.shape, np.uint8)
        for whole, _ in objects:
            label = self._classes.of_object(whole.name)
            if label is not None:
                labels[whole.mask] = label
        for whole, parts in objects:
            for part in parts:
                label = self._classes.of_part(whole.name, part.name)
                if label is not None:
                    labels[part.mask] = label
        return labels


def _voc_folder(folder: pathlib.Path) -> pathlib.Path:
    """The folder of VOC 2010, in or beside the folder of the annotations."""
    candidates = (folder / candidate for candidate in _VOC)
    voc = next((candidate for candidate in candidates if (candidate / "JPEGImages").is_dir()), None)
    if voc is None:
        voc = only_folder(folder, lambda f: (f / "JPEGImages").is_dir(), "VOC 2010")
    if voc is None:
        raise JaxpartError(f"{folder} has no {_VOC[0]}/JPEGImages; {ADVICE}")
    return voc
