"""Two-coloured patterns that fill shapes."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from PIL import Image

from jaxpart.data.critters.species import Colour

_SIDE = 256
_PLAIN = 0.6
_SHARE = (0.1, 0.2)
_DARK_EDGES = 0.5


@dataclasses.dataclass(frozen=True)
class Paint:
    """Two colours in a pattern.

    Attributes:
      colours: Background and foreground.
      pattern: Index of the pattern; None for the background colour only.
      turn: The pattern's (x, y) offset in pixels along one side of the image: rotation and scale.
      edge: Colour of the outline.
    """

    colours: tuple[Colour, Colour]
    pattern: int | None
    turn: tuple[float, float]
    edge: Colour


def _colour(hue: float, saturation: float, value: float) -> Colour:
    """RGB from hue (0 to 6), saturation and value (both 0 to 1)."""

    def channel(start: int) -> int:
        angle = (start + hue) % 6
        return round(255 * value * (1 - saturation * max(0.0, min(angle, 4 - angle, 1.0))))

    return channel(5), channel(3), channel(1)


def _mixed(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (
        round((1 - share) * a + share * b) for a, b in zip(first, second, strict=True)
    )
    return red, green, blue


def random_paint(rng: np.random.Generator) -> Paint:
    """Random colours, from pale to saturated and from dark to bright, and a random pattern."""
    samples = rng.random(11).tolist()
    background, figure = (
        _colour(6 * hue, 0.1 + 0.75 * saturation, 0.2 + 0.8 * value)
        for hue, saturation, value in (samples[:3], samples[3:6])
    )
    foreground = _mixed(background, figure, _SHARE[0] + _SHARE[1] * samples[6])
    rim = 0 if samples[7] < _DARK_EDGES else 255
    edge = _mixed(background, (rim, rim, rim), 0.8)
    index = int(samples[8] * len(_patterns()) / (1 - _PLAIN))
    angle, zoom = 2 * math.pi * samples[9], _SIDE * (0.8 + 1.2 * samples[10])
    cosine, sine = round(math.cos(angle) * zoom, 3), round(math.sin(angle) * zoom, 3)
    return Paint(
        (background, foreground),
        index if index < len(_patterns()) else None,
        (cosine, sine),
        edge,
    )


def pattern(paint: Paint, box: tuple[int, int, int, int], size: int) -> Image.Image:
    """The pattern inside a box of an image: mode "L", 255 for the foreground.

    Args:
      paint: A paint with a pattern.
      box: Left, top, right and bottom in pixels.
      size: Side of the image in pixels.
    """
    left, top, right, bottom = box
    assert paint.pattern is not None
    tile = _patterns()[paint.pattern]
    width, height = right - left, bottom - top
    cosine, sine = (step / size for step in paint.turn)
    x = tile.width / 2 - (cosine * width - sine * height) / 2
    y = tile.height / 2 - (sine * width + cosine * height) / 2
    return tile.transform(
        (width, height), Image.Transform.AFFINE, (cosine, -sine, x, sine, cosine, y)
    )


@functools.cache
def _patterns() -> tuple[Image.Image, ...]:
    """Binary tiles, large enough for any shape."""
    side = 3 * _SIDE
    y, x = np.mgrid[:side, :side]
    tiles = []
    for period in (14, 24, 40):
        u, v = x % period - period // 2, y % period - period // 2
        tiles += [
            u < 0,
            abs(u) < period // 5,
            (u < 0) ^ (v < 0),
            u * u + v * v < (period * 3 // 10) ** 2,
            (abs((y % (2 * period)) - period) + x) % period < period // 2,
        ]
    for cells in (40, 70):
        noise = np.random.Generator(np.random.Philox(cells)).integers(0, 256, (cells, cells))
        smooth = Image.fromarray(noise.astype(np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        tiles.append(np.asarray(smooth) > 127)
    return tuple(Image.fromarray(np.where(tile, 255, 0).astype(np.uint8)) for tile in tiles)
