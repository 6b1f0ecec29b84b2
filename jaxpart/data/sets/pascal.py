"""Pascal-Part and Pascal-Object from the annotations of Pascal-Part (.mat) and the images of VOC 2010."""

from __future__ import annotations

import concurrent.futures
import functools
import io
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxpart.data.folders import (
    NotThere,
    Stamp,
    by_stem,
    check_split,
    file_sizes,
    file_stamps,
    fingerprint,
    list_images,
    read_file,
    read_ids,
)
from jaxpart.data.label_maps import (
    PAPER,
    SPLITS,
    LabelMaps,
    check_names,
    encode_labels,
    numbered,
    paper_layout,
    paper_pairs,
)
from jaxpart.data.layouts import Layout, find_layout, only_folder, unpacked
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
_LAYOUTS = {
    "part": {
        "official": Layout(("pascal_part", "Pascal-Part"), (_ANNOTATIONS,), distinctive=True),
        "paper": paper_layout("pascal_part"),
    },
    "object": {
        "official": Layout(("pascal_part", "Pascal-Part"), (_ANNOTATIONS,), distinctive=True),
        "paper": paper_layout("pascal_semantic", "pascal_object"),
    },
}
_VOC = ("VOCdevkit/VOC2010", "VOC2010", ".", "../VOCdevkit/VOC2010", "../VOC2010")
_NUMBER = re.compile(r"_\d+$")
_READ_AHEAD = 64


def pascal_part(root: str | pathlib.Path, split: str) -> Pascal | LabelMaps:
    """Pascal-Part as a `Source`, with a mask "part".

    Classes are all (object, part) pairs found in the annotations of both splits, sorted by object
    and part: 193 in the full set. Parts that are numbered per object ("wheel_1", "wheel_2") are one
    class. Where parts overlap, the later in the annotation lies above. Objects without parts are
    background. Opening the folder reads every annotation once for the list; a prepared set has it.

    Args:
      root: The folder that holds Annotations_Part and VOCdevkit/VOC2010, or img and ann of the
        paper's folder, whose order of the 193 classes is not public ("class 1" to "class 193"); or
        the folder above it ("pascal_part").
      split: "train" or "val", or "all" annotated images, sorted (official folder only). VOC's own
        lists (VOCdevkit/VOC2010/ImageSets/Main) tell train from val; how the paper split is known
        from its folder only.

    Raises:
      JaxpartError: The layout is wrong, a file is missing, or an annotation is damaged.
    """
    return _open("pascal_part", "part", root, split, numbered(NUM_PARTS))


def pascal_object(root: str | pathlib.Path, split: str) -> Pascal | LabelMaps:
    """Pascal-Object as a `Source`, with a mask "object": the whole masks of the same annotations.

    Classes are the objects that have parts somewhere in the annotations, sorted: 16 in the full set,
    the order that the paper's published code lists too. Where objects overlap, the later in the
    annotation lies above. Arguments and errors are those of `pascal_part`; the paper's folder may
    lie in "pascal_semantic".
    """
    return _open("pascal_object", "object", root, split, ("background", *OBJECTS))


def _open(
    name: str, kind: str, root: str | pathlib.Path, split: str, paper_names: Sequence[str]
) -> Pascal | LabelMaps:
    check_split(name, split, (*SPLITS, "all"))
    layout, folder = find_layout(root, name, _LAYOUTS[kind], ADVICE)
    if layout == "official":
        return Pascal(name, split, folder, kind)
    check_split(f"the paper's folder of {name}", split, SPLITS)
    return LabelMaps(name, split, folder, paper_pairs(folder, split), kind, paper_names)


class Region(NamedTuple):
    """An object or a part of it in one image: its class name and its pixels."""

    name: str
    mask: Bool[np.ndarray, "height width"]


class AnnotatedObject(NamedTuple):
    """An object with its parts, in the annotation's order."""

    whole: Region
    parts: list[Region]


class Pascal:
    """The images annotated in .mat files as a `Source` with one mask, drawn when it is asked for."""

    info: DatasetInfo

    def __init__(self, name: str, split: str, folder: pathlib.Path, kind: str) -> None:
        """Reads every annotation, for the list of classes (see `pascal_part`)."""
        self._folder, self._kind = folder, kind
        annotations = unpacked(folder, _ANNOTATIONS)
        found = by_stem(str(annotations.relative_to(folder)), list_images(annotations, (".mat",)))
        voc = _voc_folder(folder)
        ids = sorted(found)
        if split != "all":
            list_file = voc / "ImageSets" / "Main" / f"{split}.txt"
            if not list_file.exists():
                raise NotThere(
                    f"{list_file} is missing, so the split {split!r} is unknown; unpack all of VOC 2010 "
                    "there, or take the split 'all'"
                )
            ids = read_ids(list_file)
            alone = next((key for key in ids if key not in found), None)
            if alone is not None:
                raise JaxpartError(
                    f"{list_file} lists {alone}, but {annotations / alone}.mat is missing; "
                    "unpack Annotations_Part again"
                )
        place = os.path.relpath(voc, folder)
        self._images = [f"{place}/JPEGImages/{key}.jpg".removeprefix("./") for key in ids]
        self._mats = [found[key] for key in ids]
        part_pairs = _all_pairs(folder, file_stamps(folder, found.values()))
        classes: Sequence[tuple[str, ...]] = part_pairs
        if kind == "object":
            classes = sorted({(whole,) for whole, _ in part_pairs})
        self._labels = {key: label for label, key in enumerate(classes, 1)}
        names = ("background", *(" ".join(key) for key in classes))
        check_names(folder, names)
        files = file_sizes(folder, (*self._images, *self._mats))
        self.info = DatasetInfo(
            name=name,
            split=split,
            version=fingerprint(files, repr(names)),
            mask_names={kind: names},
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def annotation(self, index: int) -> Annotation:
        """The image's path."""
        return Annotation(self._images[index])

    def origin(self, index: int) -> tuple[str, ...]:
        """The image and its annotation."""
        return f"{self._folder}/{self._images[index]}", f"{self._folder}/{self._mats[index]}"

    def __getitem__(self, index: int) -> Record:
        """An image with its mask."""
        annotation = self.annotation(index)
        objects = read_annotation(self._folder / self._mats[index])
        labels = np.zeros(objects[0].whole.mask.shape, np.uint8)
        for whole, parts in objects:
            if self._kind == "object":
                labels[whole.mask] = self._labels.get((whole.name,), 0)
            for part in parts if self._kind == "part" else ():
                labels[part.mask] = self._labels[whole.name, part.name]
        image = read_file(self._folder / annotation.id)
        return Record(annotation, image, {self._kind: encode_labels(labels)})


def _voc_folder(folder: pathlib.Path) -> pathlib.Path:
    """The folder of VOC 2010, in or beside the one of the annotations."""
    places = (folder / place for place in _VOC)
    voc = next((place for place in places if (place / "JPEGImages").is_dir()), None)
    if voc is None:
        voc = only_folder(folder, lambda f: (f / "JPEGImages").is_dir(), "VOC 2010")
    if voc is None:
        raise JaxpartError(f"{folder} has no {_VOC[0]}/JPEGImages; {ADVICE}")
    return voc


def read_annotation(path: pathlib.Path) -> list[AnnotatedObject]:
    """The objects of an annotation file, in its order; at least one.

    Part names are without the number that tells several of an object apart ("wheel_2" is "wheel").

    Raises:
      JaxpartError: The file cannot be read, is damaged, lacks a field or has masks of two sizes.
    """
    import scipy.io

    data = read_file(path)
    try:
        document: dict[str, Any] = scipy.io.loadmat(io.BytesIO(data), variable_names=["anno"])
    except Exception as error:  # damaged bytes raise a dozen types
        raise JaxpartError(f"{path} is damaged ({error}); unpack it again") from error
    try:
        objects = [
            AnnotatedObject(
                _region(whole, "class"),
                [_region(part, "part_name") for part in whole["parts"].flat],
            )
            for whole in document["anno"][0, 0]["objects"].flat
        ]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise JaxpartError(
            f"{path} lacks a field of Pascal-Part ({error}); unpack it again"
        ) from error
    regions = [region for whole, parts in objects for region in (whole, *parts)]
    shapes = {region.mask.shape for region in regions}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise JaxpartError(f"{path} holds masks of the sizes {sorted(shapes)} instead of one")
    return objects


def _region(entry: Any, name: str) -> Region:
    text = entry[name]
    if text.size != 1 or text.dtype.kind != "U":
        raise ValueError(f"the field {name!r} is no text")
    return Region(_NUMBER.sub("", str(text.flat[0])), entry["mask"] != 0)


@functools.lru_cache(maxsize=1)  # both splits, parts and objects, ask the same one after the other
def _all_pairs(folder: pathlib.Path, stamps: tuple[Stamp, ...]) -> list[tuple[str, str]]:
    """All (object, part) pairs of annotation files, sorted; threads, since most of it is inflating."""
    files = [folder / stamp.name for stamp in stamps]
    pairs: set[tuple[str, str]] = set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for group in _groups(files, _READ_AHEAD):
            for found in pool.map(_pairs, group):
                pairs |= found
    if not pairs:
        raise JaxpartError(
            f"{files[0].parent} has no annotated part; unpack Annotations_Part again"
        )
    return sorted(pairs)


def _pairs(file: pathlib.Path) -> set[tuple[str, str]]:
    return {(whole.name, part.name) for whole, parts in read_annotation(file) for part in parts}


def _groups(files: Sequence[pathlib.Path], size: int) -> Iterator[Sequence[pathlib.Path]]:
    for start in range(0, len(files), size):
        yield files[start : start + size]
