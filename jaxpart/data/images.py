"""Pixels: decoding, cropping and resizing exactly as the published loaders do, with Pillow.

Resizing is Pillow's bicubic with antialiasing on uint8 RGB; sizes follow torchvision's `Resize` and
`CenterCrop`. On the device normalisation is `Encoder.normalize`; `normalize` here is its reference.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32, Integer, UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from jaxpart.errors import JaxpartError

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels, as Pillow's `crop` takes it."""

Pixels = UInt8[np.ndarray, "size size 3"]


def decode(data: bytes, name: str, *, upright: bool = False) -> Image.Image:
    """An encoded file (JPEG, PNG…) of any colour mode as RGB.

    As Pillow's `convert("RGB")` does it, which the published loaders call: alpha is dropped, not
    blended; 16-bit values above 255 are white; an EXIF orientation is not applied.

    Args:
      data: The file's bytes.
      name: The file, for the error.
      upright: Whether to apply an EXIF orientation after all, as OpenCV does: see `turn_of`.

    Raises:
      JaxpartError: The bytes are no image, or cut off or damaged.
    """
    image = _decoded(data, name, "RGB")
    turn = turn_of(data) if upright else None
    return image if turn is None else image.transpose(turn)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation; 1 stands for upright."""


def turn_of(data: bytes) -> Image.Transpose | None:
    """What turns a decoded file upright, by its EXIF orientation; None where nothing is to be done.

    Read of JPEG, PNG and WebP files, as OpenCV does; one that cannot be read counts for nothing there
    either.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format not in ("JPEG", "MPO", "PNG", "WEBP"):
                return None
            if image.format == "PNG":
                image.load()  # the chunk may follow the pixels
            exif = Image.Exif()
            exif.load(image.info.get("exif", b""))
            return _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF raises a dozen types; a damaged file is `decode`'s to refuse
        return None


def decode_indices(data: bytes, name: str) -> Integer[np.ndarray, "height width"]:
    """An encoded file of one channel as the numbers that it holds: palette indices, not colours.

    Args:
      data: The file's bytes.
      name: The file, for the error.

    Raises:
      JaxpartError: As `decode`, or the file has several channels.
    """
    pixels = np.asarray(_decoded(data, name, None))
    if pixels.ndim != 2 or pixels.dtype.kind not in "biu":
        raise JaxpartError(f"{name} holds colours; give a grey or palette image of label numbers")
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels


def _decoded(data: bytes, name: str, mode: str | None) -> Image.Image:
    """The decoded file in a colour mode, or in its own."""
    if not data:
        raise JaxpartError(f"{name} is an empty file; replace it")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image if mode in (None, image.mode) else image.convert(mode)
    except UnidentifiedImageError:
        raise JaxpartError(f"{name} is not an image that Pillow can read; replace it") from None
    except Exception as error:  # damaged bytes raise a dozen types, struct.error and EOFError too
        raise JaxpartError(f"{name} is truncated or damaged ({error}); replace it") from error


def crop(image: Image.Image, box: Box) -> Image.Image:
    """The part of the image in a box; what lies outside the image is black.

    Non-integer coordinates are rounded half to even, as Pillow's `crop` does.

    Raises:
      JaxpartError: No pixel is left in the rounded box.
    """
    left, top, right, bottom = (round(edge) for edge in box)
    if left >= right or top >= bottom:
        raise JaxpartError(f"the box {box} holds no pixel; give one of at least 1 × 1")
    return image.crop((left, top, right, bottom))


def resize_shorter(
    image: Image.Image, size: int, how: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """The image with its shorter side brought to `size`, as `torchvision.transforms.Resize`."""
    shorter = min(image.size)
    target = int(size * image.width / shorter), int(size * image.height / shorter)
    return image if target == image.size else image.resize(target, how)


def center_crop(image: Image.Image, size: int) -> Pixels:
    """The middle `size` × `size` pixels, as `torchvision.transforms.CenterCrop(size)`.

    The image is at least as large.
    """
    width, height = image.size
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def patch_eval(image: Image.Image, box: Box, size: int = 224) -> Pixels:
    """A part patch for retrieval and testing: cropped (black outside) and resized to `size`.

    A keypoint's box has an even whole side, and two numbers that differ by an even whole number
    are rounded the same way, so the crop is square. Any other box (as a user may give) is cut to
    the middle square after the resize, so that the result always has the same shape.

    Raises:
      JaxpartError: No pixel is left in the rounded box.
    """
    return center_crop(resize_shorter(crop(image, box), size), size)


def patch_train(image: Image.Image, box: Box, size: int = 224) -> Pixels:
    """A part patch for training a probe: resized to 256 / 224 of `size`, then centre cropped.

    Raises:
      JaxpartError: No pixel is left in the rounded box.
    """
    return image_eval(crop(image, box), size)


def image_eval(
    image: Image.Image, size: int = 224, how: Image.Resampling = Image.Resampling.BICUBIC
) -> Pixels:
    """A whole image for testing: shorter side to 256 / 224 of `size`, then centre cropped."""
    return center_crop(resize_shorter(image, round(size * 256 / 224), how), size)


PATCH_TRANSFORMS: dict[str, Callable[[Image.Image, Box, int], Pixels]] = {
    "eval": patch_eval,
    "train": patch_train,
}
"""The two fixed views of a part patch; neither is random."""


def normalize(
    images: UInt8[np.ndarray, "*batch height width 3"], mean: Sequence[float], std: Sequence[float]
) -> Float32[np.ndarray, "*batch height width 3"]:
    """(images / 255 − mean) / std per channel in float32, in torchvision's order of operations."""
    scaled = images.astype(np.float32) / np.float32(255)
    return (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
