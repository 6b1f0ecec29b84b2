"""ADE20K-Object: the 59 objects of ADE20K that have parts, from the paper's folder or the challenge's."""

from __future__ import annotations

import pathlib

from jaxpart.data.folders import check_split
from jaxpart.data.label_maps import SPLITS, LabelMaps
from jaxpart.data.layouts import Layout, find_layout
from jaxpart.data.sets.ade20k import (
    ADVICE,
    CLASSES,
    MARKS,
    NAMES_FILE,
    OBJECT_PLACES,
    PLACES,
    pairs,
)

OBJECTS = {
    2: "building", 3: "sky", 5: "tree", 8: "bed", 9: "windowpane", 11: "cabinet", 13: "person",
    15: "door", 16: "table", 18: "plant", 20: "chair", 21: "car", 24: "sofa", 25: "shelf",
    26: "house", 31: "armchair", 32: "seat", 33: "fence", 34: "desk", 36: "wardrobe", 37: "lamp",
    38: "bathtub", 43: "column", 45: "chest of drawers", 48: "sink", 49: "skyscraper",
    51: "refrigerator", 77: "boat", 54: "stairs", 57: "pool table", 60: "stairway", 63: "bookcase",
    64: "blind", 65: "coffee table", 66: "toilet", 72: "stove", 75: "computer", 76: "swivel chair",
    81: "bus", 83: "light", 84: "truck", 86: "chandelier", 91: "airplane", 98: "ottoman",
    99: "bottle", 103: "van", 108: "washer", 111: "stool", 117: "minibike", 119: "oven",
    125: "microwave", 130: "dishwasher", 131: "screen", 134: "hood", 135: "sconce",
    137: "traffic light", 140: "fan", 148: "glass", 149: "clock",
}  # fmt: skip
"""Name of each class by its label among the 150, in the order of the new labels from 1.

Names and order are those in the paper's published code, which remarks that its class names are wrong;
the authors' list is not public. mIoU, mAcc and aAcc do not depend on the order.
"""

_LAYOUTS = {
    "paper": Layout(OBJECT_PLACES, MARKS, absent=NAMES_FILE),
    "challenge": Layout(PLACES, MARKS),
}


def ade20k_object(root: str | pathlib.Path, split: str) -> LabelMaps:
    """ADE20K's 59 objects as a `Source`, with a mask "object".

    With the challenge's release the other 91 classes become background; images with none of the 59 are
    kept.

    Args:
      root: The paper's folder (images and annotations with training and validation, 0 = background,
        no objectInfo150.txt), the challenge's (with objectInfo150.txt), or one above ("ade_59object").
      split: "train" or "val".

    Raises:
      JaxpartError: The layout is wrong, or an image or label map has no counterpart.
    """
    check_split("ADE20K-Object", split, SPLITS)
    layout, folder = find_layout(root, "ADE20K-Object", _LAYOUTS, ADVICE)
    renumbered = None
    if layout == "challenge":
        label = dict(zip(OBJECTS, range(1, len(OBJECTS) + 1), strict=True))
        renumbered = [label.get(old, 0) for old in range(CLASSES + 1)]
    names = ("background", *OBJECTS.values())
    files = pairs(folder, split)
    return LabelMaps("ade20k_object", split, folder, files, "object", names, renumbered)
