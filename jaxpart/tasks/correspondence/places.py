"""Mapping from points of an image to tokens and back, by the conventions of published code.

In the default convention, "jaxpart", an image is resized with its aspect ratio kept and centred on a black
square; a point belongs to the token whose cell contains it (points on the far edge to the last token); and
a token represents the centre of its cell. For the others see docs/tasks/correspondence.md.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, Num

from jaxpart.data.squares import Layout, resized


class Sampled(NamedTuple):
    """The tokens and weights that make up the feature at each point.

    Attributes:
      cells: Row-major indices of one token, or of the four around the point.
      weights: Weights of these tokens, with a sum of 1.
    """

    cells: Int32[np.ndarray, "point tokens"]
    weights: Float32[np.ndarray, "point tokens"]


@dataclasses.dataclass(frozen=True)
class Convention:
    """The choices in which published code differs.

    Attributes:
      layout: See `jaxpart.data.squares.Layout`.
      source: The feature at a point: that of its "cell"; of its "pixel" in the tokens upsampled bilinearly;
        or interpolated with the grid's corners aligned with the square's ("corners").
      target: Candidates for the match: "cells", or pixels of tokens upsampled to the "square" or to the
        "original" image size.
      back: The point that represents a cell: its "centre"; "floor": its corner plus half a cell, rounded
        down; "pixel": its corner plus half a patch, rounded down, minus half a pixel; or its "corner".
      normalised: Whether tokens are normalised before upsampling, instead of pixels after it.
      whole: Whether points are truncated to whole pixels before and after resizing.
      inclusive: Whether an error equal to the threshold is correct.
      alpha32: Whether alpha is float32, and the side float64.
      single: Whether the whole comparison is in float32.
    """

    layout: Layout = "centred"
    source: Literal["cell", "pixel", "corners"] = "cell"
    target: Literal["cells", "square", "original"] = "cells"
    back: Literal["centre", "floor", "pixel", "corner"] = "centre"
    normalised: bool = False
    whole: bool = False
    inclusive: bool = False
    alpha32: bool = False
    single: bool = False


CONVENTIONS = {
    "jaxpart": Convention(),
    "geoaware": Convention(back="floor", alpha32=True),
    "geoaware_offline": Convention(back="floor", single=True),
    "sd_dino": Convention(back="pixel", alpha32=True),
    "dift": Convention("squashed", "pixel", "original", inclusive=True),
    "vit_analysis": Convention(source="pixel", target="square", normalised=True, single=True),
    "probe3d": Convention("corner", "corners", back="corner", whole=True, single=True),
}
"""Conventions by their names in configurations."""

OVERLAPPING = ("jaxpart", "sd_dino")
"""Conventions that define the cells of overlapping patches."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """The tokens of a square image.

    Attributes:
      cells: Number of tokens along each side.
      side: Side of the square in pixels.
      patch: Side of a patch in pixels; 0: the same as the stride.
    """

    cells: int
    side: int
    patch: int = 0

    @property
    def stride(self) -> float:
        """Distance between neighbouring cells in pixels."""
        if not self.patch:
            return self.side / self.cells
        return (self.side - self.patch) / (self.cells - 1) if self.cells > 1 else self.patch


def to_square(
    xy: Num[np.ndarray, "point 2"], size: tuple[int, int], side: int, convention: Convention
) -> Float64[np.ndarray, "point 2"]:
    """Transforms points of an image to points of the square.

    The points are x and y in pixels of the image, `size` is its (width, height).
    """
    points = np.asarray(xy, np.float64)
    if convention.layout == "squashed":
        return points * (side / np.array(size))
    if convention.whole:
        return np.trunc(np.trunc(points) * (side / max(size)))
    return points * (side / max(size)) + resized(size, side, convention.layout)[2:]


def cells_of(
    xy: Num[np.ndarray, "point 2"], grid: Grid, convention: Convention
) -> Int32[np.ndarray, " point"]:
    """The token whose cell contains each point of the square; points outside belong to the nearest.

    Cells of overlapping patches are as large as the stride and centred on their patches; the published code
    divides the whole square into as many cells instead.
    """
    points = np.asarray(xy, np.float64)
    if grid.patch and convention.back == "centre":
        position = (points - (grid.patch - grid.stride) / 2) / grid.stride
    else:
        position = points * (grid.cells / grid.side)
    column, row = np.clip(np.floor(position).astype(np.int32), 0, grid.cells - 1).T
    return row * grid.cells + column


def sampled(
    xy: Num[np.ndarray, "point 2"],
    grid: Grid,
    convention: Convention,
    size: tuple[int, int] | None = None,
) -> Sampled:
    """The tokens and weights that make up the feature at each point.

    Args:
      xy: x and y in pixels of the square, or of the image if `convention.target` is "original".
      grid: The tokens.
      convention: Determines `source` and `target`.
      size: (width, height) of the image, if `convention.target` is "original".
    """
    if convention.source == "cell":
        cells = cells_of(xy, grid, convention)[:, None]
        return Sampled(cells, np.ones(cells.shape, np.float32))
    x, y = np.asarray(xy, np.float64).T
    if convention.source == "corners":
        axes = [x / grid.side * (grid.cells - 1), y / grid.side * (grid.cells - 1)]
    elif convention.target == "original" and size is not None:
        axes = [half_pixel(np.floor(v), grid.cells, n) for v, n in zip((x, y), size, strict=True)]
    else:  # as published, columns are truncated and rows rounded
        axes = [half_pixel(v, grid.cells, grid.side) for v in (np.floor(x), np.rint(y))]
    low, share = zip(*(_neighbours(v, grid.cells) for v in axes), strict=True)
    high = [np.minimum(v + 1, grid.cells - 1) for v in low]
    around = [
        row * grid.cells + column for row in (low[1], high[1]) for column in (low[0], high[0])
    ]
    products = [
        rows * columns for rows in (1 - share[1], share[1]) for columns in (1 - share[0], share[0])
    ]
    return Sampled(
        np.stack(around, axis=1).astype(np.int32), np.stack(products, axis=1).astype(np.float32)
    )


def half_pixel(
    pixel: Num[np.ndarray, " point"], cells: int, pixels: int
) -> Float64[np.ndarray, " point"]:
    """Position of a pixel's centre, in cells from the centre of the first cell."""
    return np.clip((np.asarray(pixel, np.float64) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)


def _neighbours(
    position: Float64[np.ndarray, " point"], cells: int
) -> tuple[np.ndarray, np.ndarray]:
    low = np.clip(np.floor(position), 0, cells - 1).astype(np.int64)
    return low, np.clip(position - low, 0, 1)


def upsampling(cells: int, pixels: int) -> Float32[np.ndarray, "pixel cell"]:
    """The matrix of bilinear upsampling from cells to pixels, with half-pixel centres."""
    low, share = _neighbours(half_pixel(np.arange(pixels), cells, pixels), cells)
    matrix = np.zeros((pixels, cells), np.float32)
    np.add.at(matrix, (np.arange(pixels), low), 1 - share)
    np.add.at(matrix, (np.arange(pixels), np.minimum(low + 1, cells - 1)), share)
    return matrix


def points_of(
    columns_rows: Num[np.ndarray, "point 2"], grid: Grid, convention: Convention
) -> Float64[np.ndarray, "point 2"]:
    """Transforms (fractional) cells to the points of the square that represent them."""
    cells = np.asarray(columns_rows, np.float64)
    if convention.back == "floor":
        return cells * (grid.side / grid.cells) + (grid.side / grid.cells) // 2
    if convention.back == "pixel":
        return cells * grid.stride + ((grid.patch or grid.stride) // 2 - 0.5)
    if convention.back == "corner":
        return cells * (grid.side / grid.cells)
    return cells * grid.stride + (grid.patch or grid.stride) / 2


def within(
    error: Float64[np.ndarray, "*point"],
    side: Float64[np.ndarray, "*point"],
    alpha: float,
    convention: Convention,
) -> np.ndarray:
    """Whether errors are below `alpha` times a side, in the precision of the published code."""
    if convention.inclusive:
        return error / side <= alpha
    if convention.source == "corners":
        return (error / side).astype(np.float32) < np.float32(alpha)
    if convention.single:
        return error.astype(np.float32) < np.float32(alpha) * side.astype(np.float32)
    return error < (float(np.float32(alpha)) if convention.alpha32 else alpha) * side
