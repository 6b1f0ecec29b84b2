"""ADE20K-Part from the paper's folder, or by a stated rule from the full release of ADE20K."""

from __future__ import annotations

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxpart.data.folders import (
    NoImages,
    NotThere,
    Stamp,
    check_split,
    file_sizes,
    file_stamps,
    fingerprint,
    read_file,
    walk_images,
)
from jaxpart.data.images import decode_channels
from jaxpart.data.indexes import kept_document, kept_labels
from jaxpart.data.label_maps import (
    PAPER,
    SPLITS,
    LabelMaps,
    numbered,
    paper_layout,
    paper_pairs,
)
from jaxpart.data.layouts import Layout, find_layout
from jaxpart.data.listed_images import ListedImages
from jaxpart.data.masks import Labels
from jaxpart.data.sets.ade20k import FOLDERS
from jaxpart.data.sets.ade20k_object import OBJECTS
from jaxpart.data.source import Annotation, DatasetInfo, Record
from jaxpart.errors import JaxpartError, printable
from jaxpart.io.text import decode_json, decode_text

NUM_PARTS = 209
_CODES = 256 * 26
"""Exclusive limit of the class codes in a colour-coded map."""
_RED_TERM = (np.arange(256) // 10 * 256).astype(np.uint16)
"""The red channel's contribution to a class code."""
ADVICE = (
    "unpack the full ADE20K release (ADE20K_2021_17_01, https://ade20k.csail.mit.edu, registration) or "
    f"{PAPER} there"
)
_PLACES = ("ADE20K_2021_17_01", "ade20k/ADE20K_2021_17_01", "ADE20K/ADE20K_2021_17_01")
_LAYOUTS = {
    "paper": paper_layout("ADE20K_Part", "ade20k_part"),
    "full": Layout(_PLACES, ("images/ADE/training", "images/ADE/validation"), distinctive=True),
}

Pair = tuple[str, str]
"""Names of an object and of its part, as in the annotations."""


_SUFFIXES = (".jpg", "_seg.png", "_parts_1.png")


def ade20k_part(root: str | pathlib.Path, split: str) -> Ade20kParts | LabelMaps:
    """ADE20K's parts of objects as a `Source`, with a mask "part".

    The paper's 209 classes and their order are not public: in its folder they are "class 1" to "class 209".
    From the full release we choose 209 classes by a rule, so numbers are not the paper's: the first-level
    (object, part) pairs of the 59 objects of `ade20k_object` (by an object's first name) that appear in
    most images of both splits (ties by name), sorted. A pixel gets a part's label where the part map shows
    the part and the object map shows its object; all others are background. Opening the release reads every
    annotation once to list the classes; a prepared data set stores the list.

    Args:
      root: ADE20K_2021_17_01 (with images/ADE), or the paper's folder (img and ann), or one above.
      split: "train" or "val".

    Raises:
      JaxpartError: The layout is wrong, a file is missing, or an annotation is damaged.
    """
    check_split("ADE20K-Part", split, SPLITS)
    layout, folder = find_layout(root, "ADE20K-Part", _LAYOUTS, ADVICE)
    if layout == "full":
        return Ade20kParts(split, folder)
    pairs = paper_pairs(folder, split)
    return LabelMaps("ade20k_part", split, folder, pairs, "part", numbered(NUM_PARTS))


class Ade20kParts(ListedImages):
    """The full release as a `Source` with a mask "part", drawn on access."""

    def __init__(self, split: str, folder: pathlib.Path) -> None:
        """Reads every annotation to list the classes (see `ade20k_part`)."""
        scenes = {name: _scenes(folder, name) for name in FOLDERS.values()}
        self._scenes = scenes[FOLDERS[split]]
        if not self._scenes:
            raise NotThere(f"{folder}/images/ADE/{FOLDERS[split]} holds no image; {ADVICE}")
        notes = [f"{scene}.json" for split_scenes in scenes.values() for scene in split_scenes]
        codes = _chosen_pairs(folder, file_stamps(folder, notes))
        if not codes:
            raise JaxpartError(f"{folder} has no annotated part of the {len(OBJECTS)} objects")
        # Label of each pair (0 for others), indexed by the ranks of its object and its part.
        wholes, whole = np.unique([whole for whole, _ in codes.values()], return_inverse=True)
        parts, part = np.unique([part for _, part in codes.values()], return_inverse=True)
        self._wholes, self._parts = np.zeros((2, _CODES), np.int16)
        self._wholes[wholes], self._parts[parts] = (
            np.arange(1, 1 + len(c)) for c in (wholes, parts)
        )
        self._labels = np.zeros((1 + len(wholes), 1 + len(parts)), np.uint8)
        self._labels[whole + 1, part + 1] = np.arange(1, 1 + len(codes))
        names = (
            "background",
            *(f"{_first_name(whole)} {_first_name(part)}" for whole, part in codes),
        )
        files = file_sizes(
            folder, (f"{scene}{end}" for scene in self._scenes for end in (".jpg", "_seg.png"))
        )
        info = DatasetInfo(
            name="ade20k_part",
            split=split,
            version=fingerprint(files, repr(codes)),
            mask_names={"part": names},
        )
        super().__init__(folder, [Annotation(f"{scene}.jpg") for scene in self._scenes], info)

    def origin(self, index: int) -> tuple[str, ...]:
        """The image and its maps; the map of parts may not exist."""
        return tuple(f"{self._root}/{self._scenes[index]}{end}" for end in _SUFFIXES)

    def __getitem__(self, index: int) -> Record:
        """An image with its mask."""
        mask = kept_labels(self, index, lambda: self._draw(index))
        return dataclasses.replace(super().__getitem__(index), masks={"part": mask})

    def _draw(self, index: int) -> Labels:
        whole = self._codes(index, "_seg.png")
        labels = np.zeros(whole.shape, np.uint8)
        if (self._root / f"{self._scenes[index]}_parts_1.png").exists():
            part = self._codes(index, "_parts_1.png")
            if part.shape != whole.shape:
                path = self._root / self.annotation(index).id
                raise JaxpartError(f"the object and part maps of {path} differ in size")
            has_part = part > 0
            labels[has_part] = self._labels[
                self._wholes[whole[has_part]], self._parts[part[has_part]]
            ]
        return labels

    def _codes(self, index: int, end: str) -> np.ndarray:
        """Class codes of a colour-coded map: red / 10 · 256 + green, uint16 [height, width]."""
        path = self._root / f"{self._scenes[index]}{end}"
        pixels = decode_channels(read_file(path), str(path))
        if pixels.ndim != 3:
            raise JaxpartError(
                f"{path} has no colours, so it is not an ADE20K map; unpack it again"
            )
        return _RED_TERM[pixels[..., 0]] + pixels[..., 1]


@functools.lru_cache(maxsize=1)  # both splits need it
def _chosen_pairs(folder: pathlib.Path, stamps: tuple[Stamp, ...]) -> dict[Pair, tuple[int, int]]:
    """Class codes of the pairs that the rule chooses, sorted by pair; kept in the user's cache."""

    def choose() -> list[tuple[Pair, tuple[int, int]]]:
        counts: collections.Counter[Pair] = collections.Counter()
        codes: dict[Pair, tuple[int, int]] = {}
        for stamp in stamps:
            codes_of_image = read_parts(folder / stamp.name)
            counts.update(codes_of_image.keys())
            codes.update(codes_of_image)
        chosen = sorted(counts, key=lambda pair: (-counts[pair], pair))[:NUM_PARTS]
        return [(pair, codes[pair]) for pair in sorted(chosen)]

    key = f"ADE20K's {NUM_PARTS} pairs {folder.resolve()} {stamps}"
    cached = kept_document(key, choose)
    return {(whole, part): (first, second) for (whole, part), (first, second) in cached}


def _scenes(folder: pathlib.Path, split: str) -> list[str]:
    """Paths below `folder`, without suffix, of a split's images, sorted."""
    images = f"images/ADE/{split}"
    try:
        paths = walk_images(folder / images, (".png",))
    except (NotThere, NoImages):
        return []
    maps = (path for path in paths if path.endswith("_seg.png"))
    return sorted(f"{images}/{path.removesuffix('_seg.png')}" for path in maps)


def _first_name(names: str) -> str:
    return names.split(",")[0].strip()


_OBJECTS = frozenset(OBJECTS.values())


def read_parts(path: pathlib.Path) -> dict[Pair, tuple[int, int]]:
    """Class codes (object, part) of each pair in an annotation file that the rule may choose.

    Raises:
      JaxpartError: The file cannot be read, is damaged or lacks a field.
    """
    data = read_file(path)
    try:
        text = decode_text(data, path)
    except JaxpartError:  # some official files are not UTF-8
        text = data.decode("latin-1")
    document = decode_json(text.encode(), path)
    try:
        return _parts(document["annotation"]["object"])
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise JaxpartError(
            f"{path} lacks a field of ADE20K ({printable(str(error))}); unpack it again"
        ) from error


def _parts(objects: Sequence[dict[str, Any]]) -> dict[Pair, tuple[int, int]]:
    by_id = {entry["id"]: entry for entry in objects}
    pairs = {}
    for part in objects:
        owner = part["parts"]["ispartof"]  # an id, or an empty list
        if part["parts"]["part_level"] == 1 and isinstance(owner, int) and owner in by_id:
            whole = by_id[owner]
            if _first_name(whole["name"]) in _OBJECTS:
                pair = whole["name"], part["name"]
                codes = whole["name_ndx"], part["name_ndx"]
                if not all(type(code) is int and 0 < code < _CODES for code in codes):
                    raise ValueError(f"name_ndx is {codes}")
                if not all(type(name) is str for name in pair):
                    raise ValueError(f"name is {pair}")
                pairs[pair] = codes
    return pairs
