"""LIP (Look into Person): persons with 19 parts, from the official folder or the paper's."""

from __future__ import annotations

import pathlib

from jaxpart.data.folders import check_split, composed, list_pairs, read_ids
from jaxpart.data.label_maps import PAPER, SPLITS, LabelMaps, paper_layout, paper_pairs
from jaxpart.data.layouts import Layout, find_layout, unpacked
from jaxpart.errors import JaxpartError

PARTS = (
    "hat", "hair", "glove", "sunglasses", "upper clothes", "dress", "coat", "socks", "pants",
    "jumpsuits", "scarf", "skirt", "face", "left arm", "right arm", "left leg", "right leg",
    "left shoe", "right shoe",
)  # fmt: skip
"""The official names, by label from 1; 0 is the background."""

ADVICE = (
    "unpack TrainVal_images and TrainVal_parsing_annotations of LIP (https://sysu-hcp.net/lip/) or "
    f"{PAPER} there"
)
_LABELS = "TrainVal_parsing_annotations"
_IMAGES = "TrainVal_images"
_LAYOUTS = {
    "official": Layout(("LIP", "lip"), (_LABELS,), distinctive=True),
    "paper": paper_layout("LIP", "lip"),
}


def lip(root: str | pathlib.Path, split: str) -> LabelMaps:
    """LIP's single persons as a `Source`, with a mask "part".

    Images are in the order of train_id.txt or val_id.txt if that file exists, otherwise sorted by name.

    Args:
      root: The folder with TrainVal_images and TrainVal_parsing_annotations (also nested, as the archives
        unpack), or with img and ann of the paper's folder, or one above it ("LIP").
      split: "train" or "val".

    Raises:
      JaxpartError: The layout is wrong, or an image or label map has no counterpart.
    """
    check_split("LIP", split, SPLITS)
    layout, folder = find_layout(root, "LIP", _LAYOUTS, ADVICE)
    if layout == "paper":
        return LabelMaps("lip", split, folder, paper_pairs(folder, split), "part", _NAMES)
    images, labels = (
        str(unpacked(folder, name).relative_to(folder)) for name in (_IMAGES, _LABELS)
    )
    pairs = list_pairs(folder, f"{images}/{split}_images", f"{labels}/{split}_segmentations")
    list_folder = next(
        (f for f in (folder / _IMAGES, folder / images) if (f / f"{split}_id.txt").exists()), None
    )
    if list_folder is not None:
        pair_of = {composed(pathlib.PurePath(pair[0]).stem): pair for pair in pairs}
        listed = read_ids(list_folder / f"{split}_id.txt")
        missing = next((key for key in listed if key not in pair_of), None)
        if missing is not None or len(listed) != len(pairs):
            fault = (
                f"lists {missing}, which does not exist"
                if missing is not None
                else f"lists {len(listed)} images, but {len(pairs)} exist"
            )
            raise JaxpartError(f"{list_folder / f'{split}_id.txt'} {fault}; unpack LIP again")
        pairs = [pair_of[key] for key in listed]
    return LabelMaps("lip", split, folder, pairs, "part", _NAMES)


_NAMES = ("background", *PARTS)
