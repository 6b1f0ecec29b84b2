"""Masks: the patches of whole annotated parts, and equally many random patches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8

from jaxpart.data.parts import PartSelection
from jaxpart.data.regions import part_regions, patches_of_region
from jaxpart.data.source import Source
from jaxpart.encoders.architecture import ViTConfig
from jaxpart.errors import JaxpartError

_FEWEST = 4
"""Minimum number of hidden patches."""


@dataclasses.dataclass(frozen=True)
class Regions:
    """Annotated parts of some images.

    Attributes:
      images: Images transformed by `image_eval`.
      labels: Class of each image, -1 if the data set has no classes.
      image: Index of each part's image.
      parts: Name of each part.
      touched: The patches that each part touches, in row-major order.
    """

    images: UInt8[np.ndarray, "image size size 3"]
    labels: Int[np.ndarray, " image"]
    image: Int[np.ndarray, " part"]
    parts: Sequence[str]
    touched: Bool[np.ndarray, "part patch"]


def read_regions(
    source: Source,
    numbers: Sequence[int],
    selection: PartSelection | None,
    config: ViTConfig,
    *,
    largest_share: float,
) -> Regions:
    """The parts of some images.

    Parts that touch more than `largest_share` of the patches are left out; where there are no part masks,
    the selection's keypoints are used.

    Raises:
      JaxpartError: There is one image only, one cannot be read or has neither masks nor keypoints, or no
        part is left.
    """
    if len(numbers) < 2:
        raise JaxpartError(
            f"parts are also predicted from another image, and {source.info.name} is evaluated on 1; raise "
            "config.masked_parts.images or give more images"
        )
    images, labels, image, parts, touched = [], [], [], [], []
    for index, number in enumerate(numbers):
        pixels, regions = part_regions(source, number, selection, size=config.image_size[0])
        label = source.annotation(number).label
        images.append(pixels)
        labels.append(-1 if label is None else label)
        for name, region in regions.items():
            patches = patches_of_region(region, config.patch_size)
            if patches.mean() <= largest_share:
                image.append(index)
                parts.append(name)
                touched.append(patches)
    if not touched:
        raise JaxpartError(
            f"none of {len(numbers)} images of {source.info.name} shows a part that touches at most "
            f"{largest_share:g} of the patches; raise config.masked_parts.largest_share or "
            f"config.masked_parts.images"
        )
    return Regions(np.stack(images), np.array(labels), np.array(image), parts, np.stack(touched))


def draw_masks(
    touched: Bool[np.ndarray, "part patch"], seed: int
) -> tuple[Bool[np.ndarray, "part patch"], Bool[np.ndarray, "part patch"]]:
    """The masks for "part" and "random_mask", with the same number of patches, a power of two.

    If that is more than half of all patches, only the part's number of patches is hidden.
    """
    rng = np.random.default_rng(seed)
    part_masks, random_masks = touched.copy(), np.zeros_like(touched)
    patches = touched.shape[1]
    for row, part in enumerate(touched):
        count = max(_FEWEST, 1 << (int(part.sum()) - 1).bit_length())
        if count > patches // 2:
            count = int(part.sum())
        others = rng.permutation(np.flatnonzero(~part))
        part_masks[row, others[: count - part.sum()]] = True
        first = rng.choice(np.flatnonzero(part))
        rest = rng.permutation(np.setdiff1d(np.arange(patches), first))
        random_masks[row, [first, *rest[: count - 1]]] = True
    return part_masks, random_masks


def other_images(regions: Regions, seed: int) -> np.ndarray:
    """Another of at least two images for each part, of another class if there are several classes."""
    rng = np.random.default_rng(seed)
    labels, images = regions.labels, np.arange(len(regions.images))
    chosen = []
    for own in regions.image:
        candidates = images[labels != labels[own]]
        if not len(candidates):
            candidates = images[images != own]
        chosen.append(rng.choice(candidates))
    return np.array(chosen)
