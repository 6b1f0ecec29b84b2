"""The pixels and the patches that each annotated part covers, in images as encoders see them."""

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
    """An image transformed by `image_eval`, and the region of each visible part by name.

    Regions come from the image's part mask; without one, a region is the union of the boxes of the part's
    patches.

    Args:
      source: The data set.
      index: Index of the image.
      selection: The keypoints to use where there is no mask; None if there are none.
      size: Side in pixels.

    Raises:
      JaxpartError: The image or its mask cannot be read, or it has neither mask nor keypoints.
    """
    record = source[index]
    # Keypoints refer to the image as stored, label maps to the upright image.
    image = decode(
        record.image, record.annotation.id, record.annotation.size, upright="part" in record.masks
    )
    regions: dict[str, np.ndarray] = {}
    if "part" in record.masks:
        names = source.info.mask_names["part"]
        labels = read_mask(record, "part", len(names), (image.height, image.width))
        for label in np.setdiff1d(labels, (0, IGNORE)).tolist():
            regions[names[label]] = labels == label
    elif selection is None:
        raise JaxpartError(f"{source.info.name} has no annotated parts")
    else:
        for patch in image_patches(index, record.annotation, selection):
            inside = regions.setdefault(
                selection.parts[patch.part], np.zeros((image.height, image.width), bool)
            )
            left, top, right, bottom = (max(0, round(edge)) for edge in patch.box)
            inside[top:bottom, left:right] = True
    transformed = {
        name: image_eval(Image.fromarray(inside.astype(np.uint8)), size, _NEAREST) > 0
        for name, inside in regions.items()
    }
    return image_eval(image, size), {
        name: region for name, region in transformed.items() if region.any()
    }


def patches_of_region(region: Region, side: int) -> Bool[np.ndarray, " patch"]:
    """Which patches of `side` pixels contain at least one pixel of a region, in row-major order."""
    return reduce(region, "(row y) (column x) -> (row column)", "max", y=side, x=side)
