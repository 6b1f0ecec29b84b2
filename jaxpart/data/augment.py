"""Whole-image transforms for object classification: random crops for training, centre crops for testing.

For the same crop and flip, the pixels equal those of torchvision on Pillow images.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image

from jaxpart.data.images import Pixels, decode, image_eval
from jaxpart.data.source import Record
from jaxpart.errors import JaxpartError

_CROP_TRIES = 10
_SCALE, _RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True)
class ImageTrain:
    """Random resized crop (bicubic) and random horizontal flip, as torchvision's by default.

    Returns "image" uint8 [size, size, 3], and "label" int32 [] where the record has a class.

    Attributes:
      size: Output side in pixels.
    """

    size: int = 224

    def __call__(self, record: Record, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Raises `JaxpartError` if the image cannot be read."""
        image = decode(record.image, record.annotation.id)
        image = image.crop(random_box(image.size, random, scale=_SCALE, ratio=_RATIO))
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return _with_label(record, np.asarray(image))


@dataclasses.dataclass(frozen=True)
class ImageEval:
    """Resize and centre crop, see `image_eval`.

    Returns "image" uint8 [size, size, 3], and "label" int32 [] where the record has a class.

    Attributes:
      size: Output side in pixels.
    """

    size: int = 224

    def __call__(self, record: Record, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Raises `JaxpartError` if the image cannot be read or is too narrow."""
        image = decode(record.image, record.annotation.id)
        try:
            return _with_label(record, image_eval(image, self.size))
        except JaxpartError as error:
            raise JaxpartError(f"{record.annotation.id}: {error}") from error


def _with_label(record: Record, pixels: Pixels) -> dict[str, np.ndarray]:
    label = record.annotation.label
    return {"image": pixels} | ({} if label is None else {"label": np.array(label, np.int32)})


def random_box(
    size: tuple[int, int],
    random: np.random.Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """A random box, sampled as by torchvision's `RandomResizedCrop.get_params`.

    Area, log aspect ratio and position are uniform; boxes that do not fit are redrawn. After ten
    tries, returns the largest centred box with an allowed ratio.

    Args:
      size: (width, height) of the image.
      random: Random number generator.
      scale: Minimum and maximum area of the crop, as a share of the image's.
      ratio: Minimum and maximum aspect ratio (width / height).

    Returns:
      (left, top, right, bottom) within the image.
    """
    width, height = size
    low, high = ratio
    for _ in range(_CROP_TRIES):
        area = width * height * random.uniform(*scale)
        aspect = math.exp(random.uniform(math.log(low), math.log(high)))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left = int(random.integers(width - crop_width + 1))
            top = int(random.integers(height - crop_height + 1))
            return left, top, left + crop_width, top + crop_height
    crop_width, crop_height = width, height
    if width / height < low:
        crop_height = round(width / low)
    elif width / height > high:
        crop_width = round(height * high)
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height
