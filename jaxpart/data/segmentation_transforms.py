"""Images and label maps for training and testing pixel heads (PROTOCOL.md, "Part and object segmentation").

The geometry is that of the published pipeline (mmsegmentation on mmcv). That resizes with OpenCV's
bilinear; here it is Pillow's, which antialiases when it shrinks. Labels are resized to the nearest.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from jaxpart.data.images import decode
from jaxpart.data.masks import ignore_background, read_mask
from jaxpart.data.source import Record
from jaxpart.errors import JaxpartError
from jaxpart.labels import IGNORE

_RATIOS = 0.5, 2.0
_MAX_SHARE = 0.75
_CROP_TRIES = 10
_BRIGHTNESS = 32.0
_CONTRAST = _SATURATION = 0.5, 1.5
_HUE = 18
"""In OpenCV's unit of 2 degrees."""

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels."""


@dataclasses.dataclass(frozen=True)
class _Segmentation:
    """What both transforms need to know.

    Attributes:
      kind: Which masks: "part" or "object".
      labels: How many labels the masks have, the background included.
      scale: (longest, shortest) side into which an image is fitted.
      ignore_background: Whether label 0 is ignored and the others count from 0, as in all data
        sets of the paper.
    """

    kind: str
    labels: int
    scale: tuple[int, int]
    ignore_background: bool = True

    def _read(self, record: Record) -> tuple[Image.Image, UInt8[np.ndarray, "height width"]]:
        image = decode(record.image, record.annotation.id, upright=True)
        mask = read_mask(record, self.kind, self.labels, (image.height, image.width))
        return image, ignore_background(mask) if self.ignore_background else mask


@dataclasses.dataclass(frozen=True)
class SegmentationTest(_Segmentation):
    """The whole image, resized with its ratio kept; labels keep the original size.

    Gives "image" uint8 [height, width, 3] and "label" uint8 [original height, original width].
    """

    def __call__(self, record: Record, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Raises `JaxpartError` if the image or its mask cannot be read."""
        image, label = self._read(record)
        size = fit_size(image.size, self.scale)
        return {
            "image": np.asarray(image.resize(size, Image.Resampling.BILINEAR)),
            "label": label,
        }


@dataclasses.dataclass(frozen=True)
class SegmentationTrain(_Segmentation):
    """A random crop of the randomly scaled image: flipped or not, its colours distorted, padded.

    Gives "image" uint8 [crop, crop, 3], "label" uint8 [crop, crop] and "size" int32 [2], the
    (height, width) that the picture fills. Below and to the right of it the label is 255, and the
    image must be 0 *after* normalisation: `jnp.where(inside(size, shape), normalised, 0)`.

    Attributes:
      crop: Side in pixels; the encoder runs at this size.
    """

    crop: int = dataclasses.field(kw_only=True)

    def __call__(self, record: Record, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Raises `JaxpartError` if the image or its mask cannot be read."""
        image, label = self._read(record)
        ratio = random.uniform(*_RATIOS)
        longest, shortest = (int(side * ratio) for side in self.scale)
        size = fit_size(image.size, (longest, shortest))
        resized = Image.fromarray(label).resize(size, Image.Resampling.NEAREST)
        box = choose_crop(resized, self.crop, random)
        image, resized = _resized_part(image, size, box), resized.crop(box)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = np.zeros((self.crop, self.crop, 3), np.uint8)
        labels = np.full((self.crop, self.crop), IGNORE, np.uint8)
        pixels[: image.height, : image.width] = np.asarray(distort_colours(image, random))
        labels[: image.height, : image.width] = np.asarray(resized)
        return {
            "image": pixels,
            "label": labels,
            "size": np.array([image.height, image.width], np.int32),
        }


def inside(size: Any, shape: tuple[int, int]) -> Bool[Any, "batch height width 1"]:
    """Which pixels the picture fills: False where it is padded below and to the right.

    Args:
      size: (height, width) of each picture, int [batch, 2]; of NumPy or of JAX, also when traced.
      shape: (height, width) of the padded images.
    """
    rows, columns = (np.arange(side, dtype=np.int32) for side in shape)
    return (size[:, :1] > rows)[:, :, None, None] & (size[:, 1:] > columns)[:, None, :, None]


def fit_size(size: tuple[int, int], scale: tuple[int, int]) -> tuple[int, int]:
    """The size to which an image grows or shrinks to fit into a scale, its ratio kept.

    Args:
      size: (width, height) of the image.
      scale: Sides of which the longer bounds the image's longer and the shorter its shorter one.

    Returns:
      (width, height), rounded as mmcv's `rescale_size`.

    Raises:
      JaxpartError: Nothing would be left of a side.
    """
    factor = min(max(scale) / max(size), min(scale) / min(size))
    width, height = (int(side * factor + 0.5) for side in size)
    if min(width, height) < 1:
        raise JaxpartError(
            f"an image of {size[0]} × {size[1]} pixels cannot be fitted into {scale}; leave it out"
        )
    return width, height


def smallest_scale(scale: tuple[int, int]) -> tuple[int, int]:
    """The least of the scales that `SegmentationTrain` draws around a scale."""
    return int(scale[0] * _RATIOS[0]), int(scale[1] * _RATIOS[0])


def choose_crop(label: Image.Image, crop: int, random: np.random.Generator) -> Box:
    """A random square, or all of a side that is shorter, in which no class has over 75 %.

    As mmsegmentation's `RandomCrop`: places are drawn uniformly and ten are looked at; one will do
    if it has at least two classes and each less than 75 % of its labelled pixels. After ten that
    will not, the next is taken as it comes.

    Args:
      label: The label map, 255 ignored.
      crop: Side in pixels.
      random: Source of randomness.
    """

    def draw() -> Box:
        left = int(random.integers(max(label.width - crop, 0) + 1))
        top = int(random.integers(max(label.height - crop, 0) + 1))
        return left, top, min(left + crop, label.width), min(top + crop, label.height)

    for _ in range(_CROP_TRIES):
        box = draw()
        counts = label.crop(box).histogram()[:IGNORE]
        labelled, largest = sum(counts), max(counts)
        if largest < labelled and largest / labelled < _MAX_SHARE:
            return box
    return draw()


def _resized_part(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    """`image.resize(size).crop(box)`, without the pixels that the crop throws away.

    Equal to a level: Pillow takes the region as float32, and by the sizes it decides whether to
    resize across or down first, rounding in between.
    """
    across, down = image.width / size[0], image.height / size[1]
    left, top, right, bottom = box
    region = (
        left * across,
        top * down,
        min(right * across, image.width),
        min(bottom * down, image.height),
    )
    return image.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=region)


def distort_colours(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue, each changed with probability one half.

    As mmsegmentation's `PhotoMetricDistortion`: brightness by up to ±32 levels, contrast and
    saturation by a factor of 0.5 to 1.5, hue by −36 to 34 degrees; contrast comes with equal
    chance right after brightness or last. Saturation and hue are changed in one pass through
    Pillow's HSV, which holds hue in steps of 1.4 degrees (OpenCV's: 2).
    """

    def chosen() -> bool:
        return random.random() < 0.5

    first, last = np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8)
    if chosen():
        first = _levels(first, 1.0, random.uniform(-_BRIGHTNESS, _BRIGHTNESS))
    if chosen():
        factor = random.uniform(*_CONTRAST)
        if chosen():
            first = _levels(first, factor, 0.0)
        else:
            last = _levels(last, factor, 0.0)
    saturation = random.uniform(*_SATURATION) if chosen() else 1.0
    hue = int(random.integers(-_HUE, _HUE)) if chosen() else 0

    image = _look_up(image, first, first, first)
    if saturation != 1.0 or hue:
        levels = np.arange(256)
        turned = (levels + round(hue * 255 / 180)) % 255  # Pillow's full circle is 255
        saturated = _levels(levels.astype(np.uint8), saturation, 0.0)
        image = _look_up(image.convert("HSV"), turned, saturated, levels).convert("RGB")
    return _look_up(image, last, last, last)


def _levels(values: UInt8[np.ndarray, 256], factor: float, offset: float) -> np.ndarray:
    """values · factor + offset, clipped and cut to whole levels as the published code does."""
    moved = values.astype(np.float32) * np.float32(factor) + np.float32(offset)
    return np.clip(moved, 0, 255).astype(np.uint8)


def _look_up(image: Image.Image, *tables: np.ndarray) -> Image.Image:
    """Each channel's levels replaced by those of its table."""
    if all((table == np.arange(256)).all() for table in tables):
        return image
    return image.point(np.concatenate(tables).tolist())
