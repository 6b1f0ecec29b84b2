"""Pairs of images from a COCO-style keypoint file: one's own, or AP-10K."""

from __future__ import annotations

import pathlib
from typing import Literal

import numpy as np

from jaxpart.data.coco_file import SEEN, CocoFile
from jaxpart.data.folders import check_split, fingerprint, named_files, read_file
from jaxpart.data.layouts import dataset_folder
from jaxpart.data.pairs import (
    Groups,
    ListedImages,
    PairSet,
    class_pairs,
    family_pairs,
    paired,
    species_pairs,
)
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints
from jaxpart.errors import JaxpartError

AP10K_ADVICE = "unpack ap-10k.zip (https://github.com/AlexTheBad/AP-10K) there"
AP10K_SPLITS = ("train", "val", "test")
AP10K_GROUPS = ((5, 8), (6, 9, 12, 15), (7, 10, 13, 16), (11, 14))
"""Interchangeable keypoints of AP-10K, numbered from 0 in the order of its list (GeoAware-SC)."""
LEAST_COMMON = 3
"""Visible keypoints that an image must have, and that a pair must share, as in GeoAware-SC."""

Across = Literal["", "species", "families"]
"""What the two images of a pair differ in."""


def ap10k(
    root: str, split: str = "test", most: int = 0, seed: int = 0, across: Across = ""
) -> PairSet:
    """Pairs of images of a split of AP-10K's first partition; see `keypoint_pairs`.

    GeoAware-SC merges the splits and divides each species anew in the order of the file system, and drops
    images by a list of its own: these are not its pairs, and need no list.

    Args:
      root: The folder ap-10k, or one above it.
      split: "train", "val" or "test".
      most: Pairs of each species; of each family across species; of each two families across families;
        drawn by the seed; 0: all.
      seed: Of the drawing.
      across: See `keypoint_pairs`.
    """
    check_split("AP-10K", split, AP10K_SPLITS)
    name = f"annotations/ap10k-{split}-split1.json"
    folder = dataset_folder(root, "ap-10k", (name, "data"), AP10K_ADVICE)
    return keypoint_pairs(
        folder / name,
        folder / "data",
        "ap10k",
        split,
        most,
        seed,
        interchangeable=AP10K_GROUPS,
        across=across,
    )


def own_pairs(root: str, most: int = 0, seed: int = 0) -> PairSet:
    """Pairs of a folder of `images` with their keypoints.json; see `keypoint_pairs`."""
    folder = pathlib.Path(root)
    for needed in ("keypoints.json", "images"):
        if not (folder / needed).exists():
            raise JaxpartError(
                f"{folder} has no {needed}; put a COCO-style keypoints.json and the folder images there"
            )
    return keypoint_pairs(folder / "keypoints.json", folder / "images", "own", "all", most, seed)


def keypoint_pairs(
    file: pathlib.Path,
    images: pathlib.Path,
    name: str,
    split: str,
    most: int,
    seed: int,
    *,
    interchangeable: tuple[tuple[int, ...], ...] = (),
    across: Across = "",
) -> PairSet:
    """Ordered pairs of images that share at least 3 visible keypoints.

    Of an image it is the first object in the file that has as many; only points with v = 2 are visible.
    The reference length is the longer side of the target's bbox; of the image where no object has one.

    Args:
      file: The annotations.
      images: The folder of the images that it names.
      name: What the data set is called.
      split: What its split is called.
      most: Pairs of each class, drawn by the seed before looking at what they share; 0: all.
      seed: Of the drawing.
      interchangeable: Keypoints, by their place in the list of names, that each other could be taken for.
      across: "": both images are of one category, the class of the pair. "species": of two categories of
        one supercategory, the class. "families": of two supercategories; the source's is the class.

    Raises:
      JaxpartError: A field of the file is wrong, or no pair is left.
    """
    data = read_file(file)
    document = CocoFile(file, data)
    found, boxes, kinds = document.instances(), document.boxes(), document.category_names()
    seen = found.points[:, 2] == SEEN
    enough = np.bincount(found.row[seen], minlength=len(found.image)) >= LEAST_COMMON
    chosen: dict[int, int] = {}
    for number in np.flatnonzero(enough).tolist():
        chosen.setdefault(int(found.image[number]), number)
    if not chosen:
        raise JaxpartError(f"{file}: no object has {LEAST_COMMON} visible keypoints (v = 2)")
    names = named_files(images, document.file_names(chosen), file)
    stated = document.sizes()
    classes = sorted({kinds[number] for number in chosen.values()})
    starts = np.searchsorted(found.row, np.arange(len(found.image) + 1))
    annotations = []
    for (image, number), place in zip(chosen.items(), names, strict=True):
        rows = slice(starts[number], starts[number + 1])
        points = Keypoints(
            part=found.part[rows],
            xy=found.points[rows, :2],
            visible=seen[rows],
            instance=np.full(starts[number + 1] - starts[number], found.instance[number]),
        )
        label = classes.index(kinds[number])
        annotations.append(Annotation(place, points, label, stated[image]))
    info = DatasetInfo(
        name=name,
        split=split,
        version=fingerprint(data),
        part_names=found.part_names,
        class_names=tuple(classes),
        notes=found.notes(),
    )
    species = [kinds[number] for number in chosen.values()]
    if across:
        above = document.category_names("supercategory")
        families = [above[number] for number in chosen.values()]
    if across == "species":
        pairs, of, rule = species_pairs(species, families, most, seed)
    elif across == "families":
        pairs, of, rule = family_pairs(families, most, seed)
    else:
        pairs, of, rule = class_pairs(species, most, seed)
    visible = np.zeros((len(annotations), max(found.part_names) + 1), bool)
    for image, annotation in enumerate(annotations):
        if (known := annotation.keypoints) is not None:
            visible[image, known.part[known.visible]] = True
    first, second = pairs.T
    common = (visible[first] & visible[second]).sum(axis=1) >= LEAST_COMMON
    groups: Groups = {
        kind: tuple(tuple(part + 1 for part in group) for group in interchangeable)
        for kind in set(of)
    }
    return paired(
        ListedImages(images, annotations, info),
        pairs[common],
        [kind for kind, kept in zip(of, common, strict=True) if kept],
        f"{rule}, that share at least {LEAST_COMMON} visible keypoints",
        boxes=None if boxes is None else boxes[list(chosen.values())],
        groups=groups,
    )
