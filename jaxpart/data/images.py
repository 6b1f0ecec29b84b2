"""Pixels: decoding, cropping and resizing exactly as the published loaders do, with Pillow.

Resizing is Pillow's bicubic with antialiasing on uint8 RGB; sizes follow torchvision's `Resize` and
`CenterCrop`. Normalisation happens on the device (`Encoder.normalize`).
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from jaxpart.errors import JaxpartError

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels, as Pillow's `crop` takes it."""

Pixels = UInt8[np.ndarray, "size size 3"]


def decode(data: bytes, name: str) -> Image.Image:
    """An encoded file (JPEG, PNG…) of any colour mode as RGB.

    Args:
      data: The file's bytes.
      name: The file, for the error.

    Raises:
      JaxpartError: The bytes are no image, or cut off.
    """
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except UnidentifiedImageError:
        raise JaxpartError(f"{name} is not an image that Pillow can read; replace the file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise JaxpartError(f"{name} is damaged ({error}); replace the file") from error


def resize_shorter(image: Image.Image, size: int) -> Image.Image:
    """The image with its shorter side brought to `size`, as `torchvision.transforms.Resize(size)`."""
    width, height = image.size
    if width <= height:
        target = size, int(size * height / width)
    else:
        target = int(size * width / height), size
    return image if target == image.size else image.resize(target, Image.Resampling.BICUBIC)


def center_crop(image: Image.Image, size: int) -> Pixels:
    """The middle `size` × `size` pixels, as `torchvision.transforms.CenterCrop(size)`.

    The image is at least as large.
    """
    width, height = image.size
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def patch_eval(image: Image.Image, box: Box, size: int) -> Pixels:
    """A part patch for retrieval and testing: cropped (black outside) and resized to `size`.

    Pillow rounds both ends of a box of even side alike, so the crop is square.
    """
    return center_crop(resize_shorter(image.crop(box), size), size)  # type: ignore[arg-type]


def patch_train(image: Image.Image, box: Box, size: int) -> Pixels:
    """A part patch for training a probe: resized to 256 / 224 of `size`, then centre cropped."""
    return center_crop(resize_shorter(image.crop(box), round(size * 256 / 224)), size)  # type: ignore[arg-type]


PATCH_TRANSFORMS: dict[str, Callable[[Image.Image, Box, int], Pixels]] = {
    "eval": patch_eval,
    "train": patch_train,
}
"""The two fixed views of a part patch; neither is random."""
