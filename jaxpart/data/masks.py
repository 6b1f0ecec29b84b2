"""Decoding and checking of label maps."""

from __future__ import annotations

from collections.abc import Mapping

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
    """The label map of a record; 0 is the background.

    Args:
      record: The record.
      kind: "part" or "object".
      labels: Number of labels, background included: `len(info.mask_names[kind])`.
      size: (height, width) of the upright image, if known: the EXIF orientation is applied to images, as
        OpenCV does, but not to label maps, which Pillow reads.

    Raises:
      JaxpartError: The mask is missing, cannot be read, has a different size than the image, or holds a
        label that is neither in 0 … labels − 1 nor 255.
    """
    name = f"{record.annotation.id} ({kind} mask)"
    if kind not in record.masks:
        raise JaxpartError(f"{name} is missing; choose a data set with {kind} masks")
    if not 1 <= labels <= IGNORE:
        raise JaxpartError(f"{name} cannot have {labels} labels; 1 to {IGNORE} fit into a byte")
    stored = record.masks[kind]
    mask = stored if isinstance(stored, np.ndarray) else decode_indices(stored, name)
    if size is not None and mask.shape != tuple(size) and turn_of(record.image) is not None:
        raise JaxpartError(
            f"{name} is {mask.shape[1]} × {mask.shape[0]} pixels, its image {size[1]} × {size[0]} once the "
            "image's EXIF orientation is applied; rotate the label map too, or remove the "
            "orientation from the image"
        )
    check_labels(mask, labels, where=name, size=size)
    return mask.astype(np.uint8, copy=False)


def label_fault(where: str, seen: Mapping[frozenset[int], str], labels: int) -> str:
    """The error message for label maps that are not meant as they are read; "" if there is no sign of it.

    No pixel belongs to a class; or the only class is 1 in some maps, and 255, which is ignored, in others.

    Args:
      where: The data set and split.
      seen: Each set of values that a label map holds, and the first image whose map does.
      labels: Number of labels, background included.
    """
    values = sorted(frozenset[int]().union(*seen))
    if not any(0 < value < labels for value in values):
        return (
            f"{where}: no pixel of the label maps has a label from 1 to {labels - 1}; the values found are "
            f"{', '.join(map(str, values))} (0 is the background, {IGNORE} is ignored); save labels, not "
            "colours"
        )
    one, white = (next((seen[v] for v in seen if label in v), "") for label in (1, IGNORE))
    if labels == 2 and white and not any({1, IGNORE} <= held for held in seen):
        return (
            f"{where}: the label map of {one} holds 1, that of {white} {IGNORE}, which is ignored, and "
            "none holds both; save the class as 1 in every label map"
        )
    return ""


def ignore_background(mask: Labels) -> Labels:
    """Maps the background 0 to 255 (ignored) and shifts every other label down by one."""
    return mask - (mask != IGNORE).view(np.uint8)  # 0 − 1 is 255
