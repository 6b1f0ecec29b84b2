"""Resizing for segmentation: OpenCV's, as in the published pipeline, or Pillow's."""

from __future__ import annotations

import functools
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Resize = Literal["opencv", "pillow"]
"""Library that resizes images and label maps.

- opencv: bilinear without antialiasing, in fixed point; labels from floor(i · source / target).
- pillow: bilinear, antialiased when shrinking; labels from floor((i + ½) · source / target).
"""

RESIZES: tuple[str, ...] = get_args(Resize)


@functools.cache
def opencv() -> Any:
    """The cv2 module, imported lazily since it is slow; single-threaded, as loading is parallel already."""
    import cv2

    cv2.setNumThreads(1)
    return cv2


def resize_image(
    pixels: UInt8[np.ndarray, "height width 3"], size: tuple[int, int], rule: Resize
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Resizes an image.

    Args:
      pixels: RGB.
      size: (width, height) of the result.
      rule: See `Resize`.
    """
    if rule == "pillow":
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    cv2 = opencv()
    return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)


def resize_labels(
    labels: UInt8[np.ndarray, "height width"], size: tuple[int, int], rule: Resize
) -> UInt8[np.ndarray, "rows columns"]:
    """Resizes a label map; see `resize_image`."""
    if rule == "pillow":
        return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    cv2 = opencv()
    return cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
