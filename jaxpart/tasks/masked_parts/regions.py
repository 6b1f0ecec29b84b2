"""Which patches are hidden: those of whole annotated parts, and as many at random."""

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
"""Patches hidden at least."""


@dataclasses.dataclass(frozen=True)
class Regions:
    """Annotated parts of some images.

    Attributes:
      images: As `image_eval` makes them.
      labels: Class of each image, -1 where the data set has none.
      image: Which of them each part is in.
      parts: Name of each part.
      touched: The patches that it touches, row by row.
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

    Args:
      source: The data set.
      numbers: Which of its images.
      selection: The keypoints that are parts, where there are no part masks.
      config: Says how large images and patches are.
      largest_share: Of the patches; parts that touch more are left out.

    Raises:
      JaxpartError: An image cannot be read, nothing says where parts are, or no part is left.
    """
    images, labels, image, parts, touched = [], [], [], [], []
    for item, number in enumerate(numbers):
        pixels, found = part_regions(source, number, selection, size=config.image_size[0])
        label = source.annotation(number).label
        images.append(pixels)
        labels.append(-1 if label is None else label)
        for name, region in found.items():
            patches = patches_of_region(region, config.patch_size)
            if patches.mean() <= largest_share:
                image.append(item)
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
    """What is hidden for "part" and for "random_mask": equally many patches, a power of two.

    Where that would be more than half of the patches, the part alone is hidden.
    """
    rng = np.random.default_rng(seed)
    whole, random = touched.copy(), np.zeros_like(touched)
    patches = touched.shape[1]
    for row, mine in enumerate(touched):
        count = max(_FEWEST, 1 << (int(mine.sum()) - 1).bit_length())
        if count > patches // 2:
            count = int(mine.sum())
        others = rng.permutation(np.flatnonzero(~mine))
        whole[row, others[: count - mine.sum()]] = True
        one = rng.choice(np.flatnonzero(mine))
        rest = rng.permutation(np.setdiff1d(np.arange(patches), one))
        random[row, [one, *rest[: count - 1]]] = True
    return whole, random


def other_images(regions: Regions, seed: int) -> np.ndarray:
    """For each part another image, of another class where there are several."""
    rng = np.random.default_rng(seed)
    labels, everything = regions.labels, np.arange(len(regions.images))
    chosen = []
    for own in regions.image:
        candidates = everything[labels != labels[own]]
        if not len(candidates):
            candidates = everything[everything != own]
        chosen.append(rng.choice(candidates) if len(candidates) else own)
    return np.array(chosen)
