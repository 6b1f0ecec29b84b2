"""Whole images resized to squares, with the inverse mapping of their points."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from PIL import Image

from jaxpart.data.identity import identities
from jaxpart.data.images import Pixels, decode
from jaxpart.data.patch_images import in_order
from jaxpart.data.source import Source
from jaxpart.data.views import View
from jaxpart.errors import JaxpartError

Layout = Literal["centred", "squashed", "corner"]
"""How an image is made square.

- centred: longer side resized (Lanczos), centred on black, as in GeoAware-SC;
- squashed: both sides resized (bicubic), as in DIFT;
- corner: longer side resized (bicubic), padded with white to the right or below, as in probe3d.
"""


def resized(size: tuple[int, int], side: int, layout: Layout) -> tuple[int, int, int, int]:
    """Width, height, left and top edge of an image in its square.

    Args:
      size: (width, height) of the image, pixels.
      side: Side of the square, pixels.
      layout: See `Layout`.
    """
    if layout == "squashed":
        return side, side, 0, 0
    scale = side / max(size)
    width, height = (max(1, int(np.around(scale * length))) for length in size)
    if layout == "corner":
        return width, height, 0, 0
    return width, height, (side - width) // 2, (side - height) // 2


def squared(image: Image.Image, side: int, layout: Layout) -> Pixels:
    """Makes an RGB image square with `side` pixels."""
    width, height, left, top = resized(image.size, side, layout)
    resample = Image.Resampling.LANCZOS if layout == "centred" else Image.Resampling.BICUBIC
    pixels = np.full((side, side, 3), 255 if layout == "corner" else 0, np.uint8)
    pixels[top : top + height, left : left + width] = np.asarray(
        image.resize((width, height), resample)
    )
    return pixels


def square_view(source: Source, *, size: int, layout: Layout) -> View:
    """All images of a data set as squares of `size` pixels."""

    def read_image(number: int) -> Pixels:
        record = source[number]
        annotation = record.annotation
        return squared(decode(record.image, annotation.id, annotation.size), size, layout)

    def read(numbers: Sequence[int]) -> Iterator[Pixels | JaxpartError]:
        return in_order(read_image, numbers)

    ids = [source.annotation(number).id for number in range(len(source))]
    data = f"{source.info.name} {source.info.version}"
    return View(data, f"square {layout}", size, ids, functools.partial(identities, source), read)
