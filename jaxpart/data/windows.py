"""Overlapping windows of whole images, for the figures of patch retrieval (docs/protocol.md)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from jaxpart.data.identity import identities
from jaxpart.data.images import Pixels, decode, image_eval
from jaxpart.data.source import Source
from jaxpart.data.views import View

PER_SIDE = 7
ENLARGED = 4
"""Width of the enlarged image in windows; the stride is half a window."""


def window_picture(source: Source, index: int, size: int) -> Image.Image:
    """The image that windows are cropped from: resized and cropped as for testing, then upscaled.

    Args:
      source: The data set.
      index: Index of the image.
      size: Side of a window in pixels; the enlarged image's side is four times that.

    Raises:
      JaxpartError: The image cannot be read.
    """
    record = source[index]
    cropped = image_eval(decode(record.image, record.annotation.id), size)
    side = ENLARGED * size
    return Image.fromarray(cropped).resize((side, side), Image.Resampling.BICUBIC)


def window_view(source: Source, images: Sequence[int], *, size: int) -> View:
    """The 7 × 7 windows of some images, in row-major order, one image after the other.

    Args:
      source: The data set.
      images: Indices of its images.
      size: Side of a window in pixels, even.
    """
    count = PER_SIDE**2
    ids = [
        f"{source.annotation(image).id} window {number // PER_SIDE},{number % PER_SIDE}"
        for image in images
        for number in range(count)
    ]

    def read(numbers: Sequence[int]) -> Iterator[Pixels]:
        for image, group in itertools.groupby(numbers, key=lambda number: number // count):
            picture = window_picture(source, images[image], size)
            for number in group:
                row, column = divmod(number % count, PER_SIDE)
                left, top = column * size // 2, row * size // 2
                yield np.asarray(picture.crop((left, top, left + size, top + size)))

    def identify(numbers: Sequence[int]) -> list[str]:
        return identities(source, [images[number // count] for number in numbers])

    data = f"{source.info.name} {source.info.version}"
    return View(data, "window eval", size, ids, identify, read)
