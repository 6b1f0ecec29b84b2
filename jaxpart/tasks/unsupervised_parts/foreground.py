"""Foreground without masks: a normalised cut of the patch tokens of an image, after TokenCut."""

from __future__ import annotations

import cv2
import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float

from jaxpart.encoders.positions import Grid
from jaxpart.tasks.unsupervised_parts.clustering import unit

_FEEBLE = 1e-5


def normalised_cut(
    tokens: Float[np.ndarray, "cell channel"], inside: Bool[np.ndarray, " cell"], grid: Grid
) -> Bool[np.ndarray, " cell"]:
    """The cells on the side of the normalised cut of one image's tokens that shuns its edges.

    After TokenCut (Wang et al., CVPR 2022): tokens that are alike are linked by 1, others by 1e-5, and the
    second generalised eigenvector of the graph's Laplacian is cut at its mean. TokenCut takes keys of DINO
    for alike whose cosine is above 0.2, and the side with the largest absolute value for the object. The
    tokens of other encoders may all be alike, and a few of odd length lead the eigenvector; so here tokens
    of length 1 lose the image's mean and are alike if their cosine is positive, and the object is the side
    that holds the smaller share of the cells along the picture's edges.

    Args:
      tokens: Of all cells, row by row.
      inside: The cells of the picture, a rectangle; others are left out, and are background.
      grid: Rows and columns.
    """
    found = np.zeros(len(tokens), bool)
    count = int(inside.sum())
    if count < 3:
        found[inside] = True
        return found
    seen = unit(np.asarray(tokens[inside], np.float64))
    seen = unit(seen - seen.mean(axis=0))
    graph = np.where(seen @ seen.T > 0, 1.0, _FEEBLE)
    root = 1 / np.sqrt(graph.sum(axis=1))
    # (D − W) y = λ D y by the symmetric matrix of the same eigenvalues.
    laplacian = np.eye(count) - root[:, None] * graph * root
    vector = root * scipy.linalg.eigh(laplacian, subset_by_index=[1, 1])[1][:, 0]
    above = vector > vector.mean()
    edge = np.zeros(count, bool)
    for coordinate in np.divmod(np.flatnonzero(inside), grid[1]):
        edge |= (coordinate == coordinate.min()) | (coordinate == coordinate.max())
    found[inside] = above if above[edge].mean() <= 0.5 else ~above
    return found


def regridded(
    found: Bool[np.ndarray, "image cell"], own: Grid, grid: Grid, side: int
) -> Bool[np.ndarray, "image other"]:
    """Cells of one grid as those of another, by half of their area.

    Args:
      found: Some cells of each image.
      own: Rows and columns of their grid.
      grid: Those of the other.
      side: Of the square that both divide, pixels.
    """
    if grid == own:
        return found
    other = np.zeros((len(found), grid[0] * grid[1]), bool)
    for number, cells in enumerate(found):
        square = cv2.resize(
            cells.reshape(own).astype(np.float32), (side, side), interpolation=cv2.INTER_NEAREST
        )
        shares = cv2.resize(square, grid[::-1], interpolation=cv2.INTER_AREA)
        other[number] = shares.ravel() >= 0.5
    return other
