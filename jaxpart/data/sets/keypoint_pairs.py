"""Pairs of images from a COCO-style keypoint file: AP-10K, or the user's own."""

from __future__ import annotations

import pathlib
from typing import Literal

import numpy as np

from jaxpart.data.coco_file import SEEN, CocoFile
from jaxpart.data.folders import check_split, fingerprint, named_files, read_file
from jaxpart.data.layouts import dataset_folder
from jaxpart.data.listed_images import ListedImages, annotated_size, rotated_note
from jaxpart.data.pairs import Groups, PairSet, class_pairs, family_pairs, paired, species_pairs
from jaxpart.data.parts import outside
from jaxpart.data.source import Annotation, DatasetInfo, Keypoints
from jaxpart.errors import JaxpartError

AP10K_ADVICE = "unpack ap-10k.zip (https://github.com/AlexTheBad/AP-10K) there"
AP10K_SPLITS = ("train", "val", "test")
AP10K_GROUPS = ((5, 8), (6, 9, 12, 15), (7, 10, 13, 16), (11, 14))
"""Interchangeable keypoints of AP-10K, as indices into its list of names (GeoAware-SC)."""
LEAST_COMMON = 3
"""Minimum of visible keypoints in an image, and of those that a pair shares, as in GeoAware-SC."""

Across = Literal["", "species", "families"]
"""What differs between the two images of a pair."""


def ap10k(
    root: str, split: str = "test", most: int = 0, seed: int = 0, across: Across = ""
) -> PairSet:
    """Pairs of images of a split of AP-10K's first partition; see `keypoint_pairs`.

    These are not the pairs of GeoAware-SC, which re-splits each species in file system order and excludes
    images by its own list.

    Args:
      root: The folder ap-10k, or one above it.
      split: "train", "val" or "test".
      most: Limit of pairs per species; across species, per family; across families, per pair of families;
        0: all.
      seed: Seed of the sampling.
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
    """Pairs from a folder with `images` and keypoints.json; see `keypoint_pairs`."""
    folder = pathlib.Path(root)
    for needed in ("keypoints.json", "images"):
        if not (folder / needed).exists():
            raise JaxpartError(
                f"{folder} has no {needed}; put a COCO-style keypoints.json and an images folder there"
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

    An image's object is the first in the file with 3 visible keypoints (v = 2). The reference length is the
    longer side of the target's bbox, or of the image if no object has a bbox.

    Args:
      file: The annotations.
      images: The folder of the images.
      name: Name of the data set.
      split: Name of the split.
      most: Limit of pairs per class, sampled before those with too few keypoints are removed; 0: all.
      seed: Seed of the sampling.
      interchangeable: Groups of interchangeable keypoints, as indices into the list of names.
      across: "": both images are of one category, the class of the pair. "species": of two categories of
        one supercategory, the class. "families": of two supercategories; the source's is the class.

    Raises:
      JaxpartError: A field of the file is invalid, or no pair is left.
    """
    data = read_file(file)
    document = CocoFile(file, data)
    instances = document.instances()
    seen = instances.points[:, 2] == SEEN
    enough = np.bincount(instances.row[seen], minlength=len(instances.image)) >= LEAST_COMMON
    chosen: dict[int, int] = {}
    for number in np.flatnonzero(enough).tolist():
        chosen.setdefault(int(instances.image[number]), number)
    if not chosen:
        raise JaxpartError(f"{file}: no object has {LEAST_COMMON} visible keypoints (v = 2)")
    names = named_files(images, document.file_names(chosen), file)
    sizes = document.sizes()
    objects = list(chosen.values())
    boxes, species = document.boxes(objects), document.category_names(objects)
    classes = sorted(set(species))
    starts = np.searchsorted(instances.row, np.arange(len(instances.image) + 1))
    beyond = 0
    rotated: list[str] = []
    annotations = []
    for (image, number), path, kind in zip(chosen.items(), names, species, strict=True):
        rows = slice(starts[number], starts[number + 1])
        xy, visible = instances.points[rows, :2], seen[rows]
        if (size := annotated_size(images / path, sizes[image], rotated)) is not None:
            visible = visible & ~outside(xy, size)
        beyond += int(seen[rows].sum() - visible.sum())
        points = Keypoints(
            part=instances.part[rows],
            xy=xy,
            visible=visible,
            instance=np.full(starts[number + 1] - starts[number], instances.instance[number]),
        )
        annotations.append(Annotation(path, points, classes.index(kind), size))
    notes = (*instances.notes(), *rotated_note(rotated))
    if beyond:
        notes = (*notes, f"visible keypoints outside their images are left out: {beyond}")
    info = DatasetInfo(
        name=name,
        split=split,
        version=fingerprint(data),
        part_names=instances.part_names,
        class_names=tuple(classes),
        notes=notes,
    )
    if across:
        families = document.category_names(objects, "supercategory")
    if across == "species":
        pairs, class_of = species_pairs(species, families, most, seed)
    elif across == "families":
        pairs, class_of = family_pairs(families, most, seed)
    else:
        pairs, class_of = class_pairs(species, most, seed)
    visible = np.zeros((len(annotations), max(instances.part_names) + 1), bool)
    for image, annotation in enumerate(annotations):
        if (annotated := annotation.keypoints) is not None:
            visible[image, annotated.part[annotated.visible]] = True
    first, second = pairs.T
    common = (visible[first] & visible[second]).sum(axis=1) >= LEAST_COMMON
    if not common.any():
        of_which = {"": "of one category", "species": "of two species of one family"}
        raise JaxpartError(
            f"{file}: no two images {of_which.get(across, 'of two families')} share {LEAST_COMMON} visible "
            "keypoints; use more images"
        )
    groups: Groups = {
        kind: tuple(tuple(part + 1 for part in group) for group in interchangeable)
        for kind in set(class_of)
    }
    return paired(
        ListedImages(images, annotations, info),
        pairs[common],
        [kind for kind, kept in zip(class_of, common, strict=True) if kept],
        boxes=boxes,
        groups=groups,
    )
