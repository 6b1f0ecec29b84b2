"""Reads part maps at keypoints and as centroids, as in published evaluations of part discovery.

A map has a channel for each part, and one for the background if it counts as a label.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Num

from jaxpart.probes.upsampling import interpolation_weights


def values_at(
    maps: Num[np.ndarray, "image channel row column"],
    images: Int[np.ndarray, " point"],
    xy: Num[np.ndarray, "point 2"],
    size: tuple[int, int],
) -> Float64[np.ndarray, "point channel"]:
    """Maps upsampled bilinearly to pixels (align_corners false), at the pixel nearest to each point.

    The pixel is rint(x − 0.5), half to even; points outside read zeros, so that their first channel is the
    argmax. The argmax is the part at a keypoint.

    Points are in pixels from the image's corner, `size` is (height, width) in pixels.
    """
    column, row = np.rint(np.asarray(xy, np.float64) - 0.5).astype(np.int64).T
    inside = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
    rows, columns = (
        interpolation_weights(cells, pixels)
        for cells, pixels in zip(maps.shape[2:], size, strict=True)
    )
    across = rows[np.where(inside, row, 0)], columns[np.where(inside, column, 0)]
    values = np.einsum("pr,pkrc,pc->pk", across[0], maps[images], across[1], optimize=True)
    return np.where(inside[:, None], values, 0).astype(np.float64)


def centres(
    maps: Num[np.ndarray, "image part row column"], size: tuple[int, int]
) -> Float64[np.ndarray, "image part 2"]:
    """Centroid of each part, as in PDiscoNet: of the cells' indices from 0, scaled by pixels per cell.

    The maps are non-negative, without the background; `size` is (height, width) in pixels.

    Returns:
      x and y in pixels; those of the middle cell if a map is 0 everywhere.
    """
    maps = np.asarray(maps, np.float64)
    total = maps.sum(axis=(2, 3))
    shown = total > 0
    coordinates = []
    for axis, pixels in ((3, size[1]), (2, size[0])):
        cells = maps.shape[axis]
        position = maps.sum(axis=5 - axis) @ np.arange(cells)
        middle = np.divide(position, total, out=np.full(total.shape, (cells - 1) / 2), where=shown)
        coordinates.append(middle * (pixels / cells))
    return np.stack(coordinates, axis=2)


def shown_parts(
    maps: Num[np.ndarray, "image part row column"],
) -> Bool[np.ndarray, "image part"]:
    """The active parts, as in PDiscoNet: those whose map exceeds 0.5 somewhere."""
    return maps.max(axis=(2, 3)) > 0.5


def pixel_centres(
    shares: Float[np.ndarray, "image part height width"],
) -> Float64[np.ndarray, "image part 2"]:
    """Centroid of each part, as in unsup-parts: of the pixels' indices from 1.

    The shares are the softmax over parts of maps upsampled to the image, times the foreground.

    Returns:
      x and y; near 0 for parts that are not shown.
    """
    shares = np.asarray(shares, np.float64)
    total = shares.sum(axis=(2, 3)) + 1e-8
    across = (shares.sum(axis=5 - axis) for axis in (3, 2))
    return np.stack([v @ np.arange(1, v.shape[2] + 1) / total for v in across], axis=2)
