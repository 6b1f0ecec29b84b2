"""Transforms of images and label maps for segmentation (docs/protocol.md, "Part and object segmentation").

The published pipeline is mmsegmentation's, which uses OpenCV for resizing, colours and EXIF orientation
(applied to the image only).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from jaxpart.data.images import upright_pixels
from jaxpart.data.masks import Labels, ignore_background, read_mask
from jaxpart.data.resizing import Resize, opencv, resize_image, resize_labels
from jaxpart.data.source import Record
from jaxpart.errors import JaxpartError
from jaxpart.labels import IGNORE

_RATIOS = 0.5, 2.0
_MAX_SHARE = 0.75
_CROP_TRIES = 10
_BRIGHTNESS = 32.0
_CONTRAST = _SATURATION = 0.5, 1.5
_HUE, _CIRCLE = 18, 180
"""In OpenCV's units of 2 degrees."""

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels."""

Picture = UInt8[np.ndarray, "height width 3"]


@dataclasses.dataclass(frozen=True)
class _Segmentation:
    """Options of both transforms.

    Attributes:
      kind: Kind of the masks: "part" or "object".
      labels: Number of labels in the masks, background included.
      scale: (longest, shortest) side that an image is resized to fit.
      ignore_background: Whether label 0 is ignored and the others shifted down by one, as for all data
        sets of the paper.
      resize: Library that resizes images and labels.
    """

    kind: str
    labels: int
    scale: tuple[int, int]
    ignore_background: bool = True
    resize: Resize = "opencv"

    def _read(self, record: Record) -> tuple[Picture, Labels]:
        pixels = upright_pixels(record.image, record.annotation.id)
        mask = read_mask(record, self.kind, self.labels, pixels.shape[:2])
        return pixels, ignore_background(mask) if self.ignore_background else mask


@dataclasses.dataclass(frozen=True)
class SegmentationTest(_Segmentation):
    """The whole image, resized with its aspect ratio kept; labels keep the original size.

    Returns "image" uint8 [height, width, 3] and "label" uint8 [original height, original width].
    """

    def __call__(self, record: Record, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Raises `JaxpartError` if the image or its mask cannot be read."""
        image, label = self._read(record)
        size = fit_size(label.shape[::-1], self.scale)
        return {"image": resize_image(image, size, self.resize), "label": label}


@dataclasses.dataclass(frozen=True)
class SegmentationTrain(_Segmentation):
    """A random crop of the randomly scaled image, with random flip and colour distortion, padded.

    Returns "image" uint8 [crop, crop, 3], "label" uint8 [crop, crop] and "size" int32 [2], the
    (height, width) before padding. The padding, below and to the right, has label 255, and the image
    must be 0 there *after* normalisation: `jnp.where(inside(size, shape), normalised, 0)`.

    Attributes:
      crop: Side in pixels, the encoder's input size.
    """

    crop: int = dataclasses.field(kw_only=True)

    def __call__(self, record: Record, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Raises `JaxpartError` if the image or its mask cannot be read."""
        image, label = self._read(record)
        ratio = random.uniform(*_RATIOS)
        longest, shortest = (int(side * ratio) for side in self.scale)
        size = fit_size(label.shape[::-1], (longest, shortest))
        label = resize_labels(label, size, self.resize)
        left, top, right, bottom = choose_crop(label, self.crop, random)
        part = slice(top, bottom), slice(left, right)
        image, label = resize_image(image, size, self.resize)[part], label[part]
        if random.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        height, width = label.shape
        pixels = np.zeros((self.crop, self.crop, 3), np.uint8)
        labels = np.full((self.crop, self.crop), IGNORE, np.uint8)
        pixels[:height, :width] = distort_colours(np.ascontiguousarray(image), random)
        labels[:height, :width] = label
        return {
            "image": pixels,
            "label": labels,
            "size": np.array([height, width], np.int32),
        }


def inside(size: Any, shape: tuple[int, int]) -> Bool[Any, "batch height width 1"]:
    """Which pixels belong to the image: False in the padding.

    Args:
      size: (height, width) of each image before padding, int [batch, 2]; NumPy or (traced) JAX array.
      shape: (height, width) of the padded images.
    """
    rows, columns = (np.arange(side, dtype=np.int32) for side in shape)
    return (size[:, :1] > rows)[:, :, None, None] & (size[:, 1:] > columns)[:, None, :, None]


def fit_size(size: tuple[int, int], scale: tuple[int, int]) -> tuple[int, int]:
    """The size of an image resized to fit into a scale, with its aspect ratio kept.

    Args:
      size: (width, height) of the image.
      scale: Limits of the longer and the shorter side, in either order.

    Returns:
      (width, height), rounded as mmcv's `rescale_size`.

    Raises:
      JaxpartError: A side would have no pixels.
    """
    factor = min(max(scale) / max(size), min(scale) / min(size))
    width, height = (int(side * factor + 0.5) for side in size)
    if min(width, height) < 1:
        raise JaxpartError(
            f"an image of {size[0]} × {size[1]} pixels cannot be resized to fit {scale}; remove it"
        )
    return width, height


def smallest_scale(scale: tuple[int, int]) -> tuple[int, int]:
    """The smallest scale that `SegmentationTrain` samples."""
    return int(scale[0] * _RATIOS[0]), int(scale[1] * _RATIOS[0])


def choose_crop(label: Labels, crop: int, random: np.random.Generator) -> Box:
    """A random crop in which no class covers 75 % or more; shorter sides are kept whole.

    As mmsegmentation's `RandomCrop`: positions are uniform. A crop is accepted if it has at least two
    classes, each on less than 75 % of its labelled pixels; the eleventh is always accepted.

    Args:
      label: Classes, or 255 for ignored pixels.
      crop: Side in pixels.
      random: Random number generator.
    """

    height, width = label.shape

    def draw() -> Box:
        left = int(random.integers(max(width - crop, 0) + 1))
        top = int(random.integers(max(height - crop, 0) + 1))
        return left, top, min(left + crop, width), min(top + crop, height)

    for _ in range(_CROP_TRIES):
        left, top, right, bottom = box = draw()
        counts = np.bincount(label[top:bottom, left:right].ravel(), minlength=IGNORE)[:IGNORE]
        labelled, largest = counts.sum(), counts.max()
        if largest < labelled and largest / labelled < _MAX_SHARE:
            return box
    return draw()


def distort_colours(pixels: Picture, random: np.random.Generator) -> Picture:
    """Changes brightness, contrast, saturation and hue, each with probability ½.

    As mmsegmentation's `PhotoMetricDistortion`, with OpenCV's 8-bit HSV: brightness by up to ±32 levels,
    contrast and saturation by a factor of 0.5 to 1.5, hue by −36 to 34 degrees in steps of 2; contrast
    either right after brightness or last, with equal probability.

    Args:
      pixels: RGB, contiguous.
      random: Random number generator.
    """
    cv2 = opencv()

    def coin() -> bool:
        return random.random() < 0.5

    def in_hsv(pixels: Picture, channel: int, table: np.ndarray) -> Picture:
        tables = np.tile(np.arange(256, dtype=np.uint8)[:, None], 3)
        tables[:, channel] = table
        hsv = cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), tables[None])
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)

    if coin():
        pixels = cv2.LUT(pixels, _levels(1.0, random.uniform(-_BRIGHTNESS, _BRIGHTNESS)))
    contrast = None
    if coin():
        contrast = _levels(random.uniform(*_CONTRAST), 0.0)
        if coin():
            pixels, contrast = cv2.LUT(pixels, contrast), None
    if coin():
        pixels = in_hsv(pixels, 1, _levels(random.uniform(*_SATURATION), 0.0))
    if coin():
        pixels = in_hsv(pixels, 0, (np.arange(256) + random.integers(-_HUE, _HUE)) % _CIRCLE)
    return pixels if contrast is None else cv2.LUT(pixels, contrast)


def _levels(factor: float, offset: float) -> UInt8[np.ndarray, " 256"]:
    """Lookup table of level · factor + offset, clipped and truncated as in the published code."""
    moved = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(offset)
    return np.clip(moved, 0, 255).astype(np.uint8)
