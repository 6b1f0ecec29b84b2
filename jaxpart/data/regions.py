"""Whole annotated parts of an image as encoders see it: which pixels, and which patches, they lie in."""

from __future__ import annotations

import numpy as np
from einops import reduce
from jaxtyping import Bool
from PIL import Image

from jaxpart.data.images import Pixels, decode, image_eval
from jaxpart.data.masks import read_mask
from jaxpart.data.parts import PartSelection, image_patches
from jaxpart.data.source import Source
from jaxpart.errors import JaxpartError
from jaxpart.labels import IGNORE

_NEAREST = Image.Resampling.NEAREST

Region = Bool[np.ndarray, "size size"]


def part_regions(
    source: Source, index: int, selection: PartSelection | None, *, size: int
) -> tuple[Pixels, dict[str, Region]]:
    """An image as `image_eval` makes it, and the pixels of each part that is seen in it, by name.

    Parts are those of the image's part mask; without one, the boxes of its part patches, those of one
    name together.

    Args:
      source: The data set.
      index: Number of the image.
      selection: The keypoints that are parts, where there is no mask; None without keypoints.
      size: Side in pixels.

    Raises:
      JaxpartError: The image or its mask cannot be read, or nothing says where its parts are.
    """
    record = source[index]
    # Keypoints are given on the picture as it is stored, label maps on the upright one.
    picture = decode(
        record.image, record.annotation.id, record.annotation.size, upright="part" in record.masks
    )
    found: dict[str, np.ndarray] = {}
    if "part" in record.masks:
        names = source.info.mask_names["part"]
        labels = read_mask(record, "part", len(names), (picture.height, picture.width))
        for label in np.setdiff1d(labels, (0, IGNORE)).tolist():
            found[names[label]] = labels == label
    elif selection is None:
        raise JaxpartError(f"{source.info.name} has no annotated parts")
    else:
        for patch in image_patches(index, record.annotation, selection):
            inside = found.setdefault(
                selection.parts[patch.part], np.zeros((picture.height, picture.width), bool)
            )
            left, top, right, bottom = (max(0, round(edge)) for edge in patch.box)
            inside[top:bottom, left:right] = True
    seen = {
        name: image_eval(Image.fromarray(inside.astype(np.uint8)), size, _NEAREST) > 0
        for name, inside in found.items()
    }
    return image_eval(picture, size), {
        name: region for name, region in seen.items() if region.any()
    }


def patches_of_region(region: Region, side: int) -> Bool[np.ndarray, " patch"]:
    """Which patches, `side` pixels wide, a region lies in, if with one pixel alone; row by row."""
    return reduce(region, "(row y) (column x) -> (row column)", "max", y=side, x=side)
