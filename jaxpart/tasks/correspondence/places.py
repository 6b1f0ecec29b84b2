"""From points of an image to tokens and back, as the code bases of semantic correspondence do it.

What they disagree on, and what "jaxpart", the default, does: an image is resized with its aspect kept and
centred on a black square; a point belongs to the token in whose cell it lies (one on the far edge to the
last); a token stands for the centre of its cell. docs/tasks/correspondence.md has the others.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int, Int32, Num

from jaxpart.data.squares import Layout, resized
from jaxpart.errors import JaxpartError


class Sampled(NamedTuple):
    """Of which tokens the feature at each point is made.

    Attributes:
      cells: Numbers of tokens, row by row: of one token, or of the four around the point.
      weights: Of each; they sum to 1.
    """

    cells: Int32[np.ndarray, "point tokens"]
    weights: Float32[np.ndarray, "point tokens"]


@dataclasses.dataclass(frozen=True)
class Convention:
    """The choices of a code base.

    Attributes:
      layout: See `jaxpart.data.squares.Layout`.
      source: What the feature at a point is: that of its "cell"; the tokens upsampled bilinearly to pixels,
        read at one ("pixel"); or interpolated with the corners of the grid on those of the square
        ("corners").
      target: Where the best match is looked for: among "cells", in the tokens upsampled to the "square",
        or to the "original" size of the image.
      back: Where in a cell its point lies: its "centre"; "floor": half a cell rounded down from its corner;
        "pixel": half a patch, rounded down, less half a pixel; or its "corner".
      normalised: Whether tokens get length 1 before they are upsampled, and pixels not.
      whole: Whether points are cut to whole pixels before and after resizing.
      inclusive: Whether an error that equals the limit is right.
      alpha32: Whether alpha is float32, and the side float64.
      single: Whether all of the comparison is float32.
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
"""By the name that a configuration gives them."""

OVERLAPPING = ("jaxpart", "sd_dino")
"""Those that say where the cells of overlapping patches lie."""


def find_convention(name: str) -> Convention:
    """A convention by its name. Raises `JaxpartError` if there is none."""
    if name not in CONVENTIONS:
        raise JaxpartError(
            f"there is no convention {name!r} of correspondence; choose from {', '.join(CONVENTIONS)}"
        )
    return CONVENTIONS[name]


@dataclasses.dataclass(frozen=True)
class Grid:
    """The tokens of a square image.

    Attributes:
      cells: Tokens in a row, which are as many as rows.
      side: Of the square in pixels.
      patch: Side of a patch in pixels; 0: as far as one cell is from the next.
    """

    cells: int
    side: int
    patch: int = 0

    @property
    def stride(self) -> float:
        """Pixels from a cell to the next."""
        if not self.patch:
            return self.side / self.cells
        return (self.side - self.patch) / (self.cells - 1) if self.cells > 1 else self.patch


def to_square(
    xy: Num[np.ndarray, "point 2"], size: tuple[int, int], side: int, convention: Convention
) -> Float64[np.ndarray, "point 2"]:
    """Points of an image as points of the square.

    Args:
      xy: x and y in pixels of the image.
      size: (width, height) of the image.
      side: Of the square, pixels.
      convention: Its `layout` and `whole`.
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
    """The token in whose cell each point of the square lies; points outside belong to the nearest.

    Where patches overlap, a cell is as large as the stride and lies round the centre of its patch; the
    published code cuts the whole square into as many cells instead.
    """
    points = np.asarray(xy, np.float64)
    if grid.patch and convention.back == "centre":
        at = (points - (grid.patch - grid.stride) / 2) / grid.stride
    else:
        at = points * (grid.cells / grid.side)
    column, row = np.clip(np.floor(at).astype(np.int32), 0, grid.cells - 1).T
    return row * grid.cells + column


def sampled(
    xy: Num[np.ndarray, "point 2"],
    grid: Grid,
    convention: Convention,
    size: tuple[int, int] | None = None,
) -> Sampled:
    """Of which tokens the feature at each point is made.

    Args:
      xy: x and y in pixels of the square; of the image itself where `convention.target` is "original".
      grid: The tokens.
      convention: Its `source` and `target`.
      size: (width, height) of the image, where `convention.target` is "original".
    """
    if convention.source == "cell":
        cells = cells_of(xy, grid, convention)[:, None]
        return Sampled(cells, np.ones(cells.shape, np.float32))
    x, y = np.asarray(xy, np.float64).T
    if convention.source == "corners":
        at = [x / grid.side * (grid.cells - 1), y / grid.side * (grid.cells - 1)]
    elif convention.target == "original" and size is not None:
        at = [half_pixel(np.floor(v), grid.cells, n) for v, n in zip((x, y), size, strict=True)]
    else:  # columns are cut and rows rounded
        at = [half_pixel(v, grid.cells, grid.side) for v in (np.floor(x), np.rint(y))]
    low, share = zip(*(_neighbours(v, grid.cells) for v in at), strict=True)
    high = [np.minimum(v + 1, grid.cells - 1) for v in low]
    around = [
        row * grid.cells + column for row in (low[1], high[1]) for column in (low[0], high[0])
    ]
    parts = [
        rows * columns for rows in (1 - share[1], share[1]) for columns in (1 - share[0], share[0])
    ]
    return Sampled(
        np.stack(around, axis=1).astype(np.int32), np.stack(parts, axis=1).astype(np.float32)
    )


def half_pixel(
    pixel: Num[np.ndarray, " point"], cells: int, pixels: int
) -> Float64[np.ndarray, " point"]:
    """Where among cells the centre of a pixel lies, in cells from the centre of the first one."""
    return np.clip((np.asarray(pixel, np.float64) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)


def _neighbours(at: Float64[np.ndarray, " point"], cells: int) -> tuple[np.ndarray, np.ndarray]:
    low = np.clip(np.floor(at), 0, cells - 1).astype(np.int64)
    return low, np.clip(at - low, 0, 1)


def upsampling(cells: int, pixels: int) -> Float32[np.ndarray, "pixel cell"]:
    """The matrix that upsamples a row of cells bilinearly to pixels, with half-pixel centres."""
    low, share = _neighbours(half_pixel(np.arange(pixels), cells, pixels), cells)
    matrix = np.zeros((pixels, cells), np.float32)
    np.add.at(matrix, (np.arange(pixels), low), 1 - share)
    np.add.at(matrix, (np.arange(pixels), np.minimum(low + 1, cells - 1)), share)
    return matrix


def points_of(
    columns_rows: Num[np.ndarray, "point 2"], grid: Grid, convention: Convention
) -> Float64[np.ndarray, "point 2"]:
    """The points of the square that cells, or places between them, stand for.

    Args:
      columns_rows: Column and row, from 0.
      grid: The tokens.
      convention: Its `back`.
    """
    at = np.asarray(columns_rows, np.float64)
    if convention.back == "floor":
        return at * (grid.side / grid.cells) + (grid.side / grid.cells) // 2
    if convention.back == "pixel":
        return at * grid.stride + ((grid.patch or grid.stride) // 2 - 0.5)
    if convention.back == "corner":
        return at * (grid.side / grid.cells)
    return at * grid.stride + (grid.patch or grid.stride) / 2


def within(
    error: Float64[np.ndarray, "*point"],
    side: Float64[np.ndarray, "*point"],
    alpha: float,
    convention: Convention,
) -> np.ndarray:
    """Whether errors are below `alpha` times a side, in the precision of the code base.

    Args:
      error: Distances from the annotated points, pixels.
      side: The reference lengths, pixels.
      alpha: Share of the side.
      convention: Its `inclusive`, `alpha32` and `single`.
    """
    if convention.inclusive:
        return error / side <= alpha
    if convention.source == "corners":
        return (error / side).astype(np.float32) < np.float32(alpha)
    if convention.single:
        return error.astype(np.float32) < np.float32(alpha) * side.astype(np.float32)
    return error < (float(np.float32(alpha)) if convention.alpha32 else alpha) * side


def cell_places(cells: Int[np.ndarray, " point"], grid: Grid) -> Int[np.ndarray, "point 2"]:
    """Column and row of tokens."""
    return np.stack([cells % grid.cells, cells // grid.cells], axis=1)
