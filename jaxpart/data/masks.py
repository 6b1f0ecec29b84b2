"""Label maps of records: decoded and checked."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8

from jaxpart.data.images import decode_indices, turn_of
from jaxpart.data.source import Record
from jaxpart.errors import JaxpartError
from jaxpart.labels import IGNORE, check_labels

Labels = UInt8[np.ndarray, "height width"]


def read_mask(
    record: Record, kind: str, labels: int, size: tuple[int, int] | None = None
) -> Labels:
    """The label map of a record, as the file numbers it: 0 is the background.

    Args:
      record: The record.
      kind: "part" or "object".
      labels: How many labels there are, the background included: `len(info.mask_names[kind])`.
      size: (height, width) of the image, where it is known; that of the upright one, since an EXIF
        orientation is applied to images, as OpenCV does, and not to label maps, which Pillow reads.

    Raises:
      JaxpartError: There is no such mask, it cannot be read, is not of the image's size, or holds
        a label that is neither 0 … labels − 1 nor 255.
    """
    name = f"{record.annotation.id} ({kind} mask)"
    if kind not in record.masks:
        raise JaxpartError(f"{name} is missing; choose a data set with {kind} masks")
    if not 1 <= labels <= IGNORE:
        raise JaxpartError(f"{name} cannot have {labels} labels; 1 to {IGNORE} fit into a byte")
    found = record.masks[kind]
    mask = found if isinstance(found, np.ndarray) else decode_indices(found, name)
    if size is not None and mask.shape != tuple(size) and turn_of(record.image) is not None:
        raise JaxpartError(
            f"{name} is {mask.shape[1]} × {mask.shape[0]} pixels, its image {size[1]} × {size[0]} once the "
            "image's EXIF orientation is applied; rotate the label map too, or remove the "
            "orientation from the image"
        )
    check_labels(mask, labels, where=name, size=size)
    return mask.astype(np.uint8, copy=False)


def no_labels(where: str, found: Iterable[int], labels: int) -> str:
    """The sentence for label maps in which no pixel belongs to a class; "" where one does.

    Args:
      where: The data set and split.
      found: Every value in the label maps.
      labels: How many labels there are, the background included.
    """
    values = sorted(found)
    if any(0 < value < labels for value in values):
        return ""
    return (
        f"{where}: no pixel of the label maps has a label from 1 to {labels - 1}; the values found are "
        f"{', '.join(map(str, values))} (0 is the background, {IGNORE} is ignored); save labels, not "
        "colours"
    )


def ignore_background(mask: Labels) -> Labels:
    """The background 0 as 255, which counts for nothing, and every other class one lower."""
    return np.where(mask == IGNORE, mask, mask - np.uint8(1))
