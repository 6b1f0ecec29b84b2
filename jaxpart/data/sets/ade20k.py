"""ADE20K as the scene parsing challenge released it: 150 classes."""

from __future__ import annotations

import pathlib

from jaxpart.data.folders import NotThere, check_split, list_pairs, read_lines
from jaxpart.data.label_maps import SPLITS, LabelMaps, numbered
from jaxpart.data.layouts import Layout, find_layout
from jaxpart.errors import JaxpartError

CLASSES = 150
ADVICE = "unpack ADEChallengeData2016.zip (http://sceneparsing.csail.mit.edu) there"
NAMES_FILE = "objectInfo150.txt"
FOLDERS = {"train": "training", "val": "validation"}
"""The splits' names in the official folders."""

PLACES = ("ADEChallengeData2016", "ade20k/ADEChallengeData2016", "ADE20K/ADEChallengeData2016")
OBJECT_PLACES = ("ade_59object/ADEChallengeData2016", "ade_59object", "ade20k_object")
"""Usual paths of the paper's folder of 59 objects, which has the same layout."""
MARKS = ("annotations/training", "annotations/validation")


def ade20k(root: str | pathlib.Path, split: str) -> LabelMaps:
    """ADE20K's 150 classes as a `Source`, with a mask "object"; label 0 is "other".

    Args:
      root: ADEChallengeData2016, or a folder above it.
      split: "train" or "val".

    Raises:
      JaxpartError: The layout is wrong, an image or label map has no counterpart, or a line of
        objectInfo150.txt is invalid. Without that file classes are called "class 1" to "class 150".
    """
    check_split("ADE20K", split, SPLITS)
    _, folder = find_layout(root, "ADE20K", {"challenge": Layout(PLACES, MARKS)}, ADVICE)
    is_objects = any(folder.absolute().match(place) for place in OBJECT_PLACES)
    if is_objects and not (folder / NAMES_FILE).exists():
        raise NotThere(f"{folder} holds the 59 objects of ade20k_object, not ADE20K; {ADVICE}")
    return LabelMaps("ade20k", split, folder, pairs(folder, split), "object", _names(folder))


def pairs(folder: pathlib.Path, split: str) -> list[tuple[str, str]]:
    """(image, label map) paths of a split of the challenge's layout."""
    return list_pairs(folder, f"images/{FOLDERS[split]}", f"annotations/{FOLDERS[split]}")


def _names(folder: pathlib.Path) -> tuple[str, ...]:
    """The names of objectInfo150.txt, a table of Idx, Ratio, Train, Val, Name."""
    file = folder / NAMES_FILE
    if not file.exists():
        return ("other", *numbered(CLASSES)[1:])
    names = ["other"]
    for number, line in enumerate(read_lines(file)[1:], 2):
        fields = line.split("\t")
        if len(fields) != 5 or fields[0].strip() != str(len(names)) or not fields[4].strip():
            raise JaxpartError(
                f"{file}, line {number}: {line[:80]!r} is not class {len(names)} with its ratio, counts "
                "and name; unpack ADE20K again"
            )
        names.append(fields[4].strip())
    if len(names) != CLASSES + 1:
        raise JaxpartError(f"{file} names {len(names) - 1} classes instead of {CLASSES}")
    return tuple(names)
