"""PartImageNet (He et al., ECCV 2022) from either of its releases."""

from __future__ import annotations

import pathlib

from jaxpart.data.coco_file import CocoFile
from jaxpart.data.folders import (
    NotThere,
    check_split,
    list_pairs,
    match_files,
    read_file,
    walk_images,
)
from jaxpart.data.label_maps import LabelMaps, numbered
from jaxpart.data.layouts import Layout, find_layout
from jaxpart.data.masked_images import MaskedImages, labelled
from jaxpart.errors import JaxpartError, printable

ADVICE = "unpack PartImageNet_Seg or PartImageNet_OOD (https://github.com/TACJu/PartImageNet) there"
SPLITS = ("train", "val", "test")
_PARTS = {
    "Quadruped": ("Head", "Body", "Foot", "Tail"),
    "Biped": ("Head", "Body", "Hand", "Foot", "Tail"),
    "Fish": ("Head", "Body", "Fin", "Tail"),
    "Bird": ("Head", "Body", "Wing", "Foot", "Tail"),
    "Snake": ("Head", "Body"),
    "Reptile": ("Head", "Body", "Foot", "Tail"),
    "Car": ("Body", "Tier", "Side Mirror"),
    "Bicycle": ("Body", "Head", "Seat", "Tier"),
    "Boat": ("Body", "Sail"),
    "Aeroplane": ("Head", "Body", "Engine", "Wing", "Tail"),
    "Bottle": ("Mouth", "Body"),
}
OBJECTS = tuple(_PARTS)
"""The 11 objects whose parts are annotated."""
PARTS = tuple(f"{whole} {part}" for whole, parts in _PARTS.items() for part in parts)
"""The 40 parts in the order of their official ids, with the official spelling ("Tier" is a tyre)."""
NUM_OBJECTS = 158

_NAMES = ("background", *PARTS)
_WORDNET_ID = 9
"""Length of the class id, with which image names start."""
_SEG = Layout(
    ("PartImageNet_Seg", "PartImageNet", "partimagenet"),
    tuple(f"annotations/{split}_whole" for split in SPLITS),
    distinctive=True,
)
_OOD = Layout(
    ("PartImageNet_OOD", "PartImageNet", "partimagenet"),
    tuple(f"{split}.json" for split in SPLITS),
)


def partimagenet_part(root: str | pathlib.Path, split: str) -> LabelMaps | MaskedImages:
    """PartImageNet as a `Source` with a mask "part" of 40 classes, in the order of the official ids.

    In the json release, the later of overlapping annotations wins, as in the other release's label maps;
    polygons with fewer than three corners, which the official file has, cover no pixel; images without a
    mask are left out.

    Args:
      root: PartImageNet_Seg (images, and label maps in annotations), PartImageNet_OOD (train.json beside
        train; its splits share no ImageNet class), or a folder above; Seg is preferred if both exist.
      split: "train", "val" or "test".

    Raises:
      JaxpartError: The layout is wrong, a file is missing, or a field of the json is invalid.
    """
    check_split("PartImageNet", split, SPLITS)
    layout, folder = find_layout(root, "PartImageNet", {"Seg": _SEG, "OOD": _OOD}, ADVICE)
    if layout == "Seg":
        pairs = list_pairs(folder, f"images/{split}", f"annotations/{split}")
        labels = (*range(1, len(_NAMES)), 0)  # its last label is the background
        return LabelMaps("partimagenet_part", split, folder, pairs, "part", _NAMES, labels)
    file = folder / f"{split}.json"
    if not file.exists():
        raise NotThere(f"{file} is missing; {ADVICE}")
    content = read_file(file)
    document = CocoFile(file, content)
    annotations = labelled(document, _labels(document))
    keys = document.image_ids()
    # The official names lack the folder of the class.
    names = document.file_names(keys)
    existing = walk_images(folder / split)
    paths = match_files([f"{name[:_WORDNET_ID]}/{name}" for name in names], existing, file)
    images = {}
    for key, name, path in zip(keys, names, paths, strict=True):
        if path is None:
            raise JaxpartError(
                f"{file} lists {printable(name)}, which is not in {folder / split}; unpack the images again"
            )
        images[key] = (f"{split}/{path}", folder / split / path)
    return MaskedImages(
        "partimagenet_part", split, document, content, annotations, images, "part", _NAMES
    )


def partimagenet_object(root: str | pathlib.Path, split: str) -> LabelMaps:
    """PartImageNet's objects as a `Source` with a mask "object" of 158 classes.

    The order of the classes is not published, so they are numbered.

    Args:
      root: PartImageNet_Seg, or a folder above; the other release has no object masks.
      split: "train", "val" or "test".

    Raises:
      JaxpartError: The layout is wrong, or a file is missing.
    """
    check_split("PartImageNet", split, SPLITS)
    _, folder = find_layout(root, "PartImageNet_Seg", {"Seg": _SEG}, ADVICE)
    pairs = list_pairs(folder, f"images/{split}", f"annotations/{split}_whole")
    labels = (*range(1, NUM_OBJECTS + 1), 0)
    names = numbered(NUM_OBJECTS)
    return LabelMaps("partimagenet_object", split, folder, pairs, "object", names, labels)


def _labels(document: CocoFile) -> dict[int, int | None]:
    """The label of each category of a file, by name."""
    labels: dict[int, int | None] = {}
    ids = document.unique_ids("categories").tolist()
    for row, (key, name) in enumerate(zip(ids, document.column("categories", "name"), strict=True)):
        if name not in PARTS:
            raise JaxpartError(
                f"{document.path}: categories[{row}].name is {printable(repr(name))}, which is not "
                f"one of PartImageNet's {len(PARTS)} parts"
            )
        labels[key] = _NAMES.index(name)
    return labels
