"""Whole images as squares of one size, so that their points can be found again in both directions."""

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
"""How an image comes into a square.

- centred: longest side resized to the square's (Lanczos), centred on black, as GeoAware-SC does;
- squashed: both sides resized to the square's (bicubic), as DIFT does;
- corner: longest side resized to the square's (bicubic), white to the right or below, as probe3d does.
"""


def resized(size: tuple[int, int], side: int, layout: Layout) -> tuple[int, int, int, int]:
    """Width and height of an image in the square, and its left and upper edge there.

    Args:
      size: (width, height) of the image, pixels.
      side: Of the square, pixels.
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
    """An RGB image in a square of `side` pixels."""
    width, height, left, top = resized(image.size, side, layout)
    how = Image.Resampling.LANCZOS if layout == "centred" else Image.Resampling.BICUBIC
    pixels = np.full((side, side, 3), 255 if layout == "corner" else 0, np.uint8)
    pixels[top : top + height, left : left + width] = np.asarray(image.resize((width, height), how))
    return pixels


def square_view(source: Source, *, size: int, layout: Layout) -> View:
    """All images of a data set in squares of `size` pixels."""

    def one(number: int) -> Pixels:
        record = source[number]
        annotation = record.annotation
        return squared(decode(record.image, annotation.id, annotation.size), size, layout)

    def read(numbers: Sequence[int]) -> Iterator[Pixels | JaxpartError]:
        return in_order(one, numbers)

    ids = [source.annotation(number).id for number in range(len(source))]
    data = f"{source.info.name} {source.info.version}"
    return View(data, f"square {layout}", size, ids, functools.partial(identities, source), read)
