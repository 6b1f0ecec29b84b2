"""Foreground without masks: a normalised cut of an image's patch tokens, after TokenCut."""

from __future__ import annotations

import cv2
import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float

from jaxpart.encoders.positions import Grid
from jaxpart.tasks.unsupervised_parts.clustering import unit

_WEAK = 1e-5


def normalised_cut(
    tokens: Float[np.ndarray, "cell channel"], inside: Bool[np.ndarray, " cell"], grid: Grid
) -> Bool[np.ndarray, " cell"]:
    """Foreground by a normalised cut of one image's tokens: the side with fewer cells along its borders.

    After TokenCut (Wang et al., CVPR 2022): edges between similar tokens have weight 1, others 1e-5, and
    the second generalised eigenvector of the graph's Laplacian is thresholded at its mean. In TokenCut,
    DINO's keys are similar if their cosine is above 0.2, and the object is the side with the largest
    absolute value. With other encoders all tokens may be similar, and a few outliers may dominate the
    eigenvector. So here tokens are normalised and centred per image and are similar if their cosine is
    positive, and the object is the side with the smaller share of the cells along the image's borders.

    The tokens are those of all cells, in row-major order; cells that are not `inside`, a rectangle, are
    background.
    """
    foreground = np.zeros(len(tokens), bool)
    count = int(inside.sum())
    if count < 3:
        foreground[inside] = True
        return foreground
    normalised = unit(np.asarray(tokens[inside], np.float64))
    normalised = unit(normalised - normalised.mean(axis=0))
    graph = np.where(normalised @ normalised.T > 0, 1.0, _WEAK)
    root = 1 / np.sqrt(graph.sum(axis=1))
    # (D − W) y = λ D y, by the symmetric matrix with the same eigenvalues.
    laplacian = np.eye(count) - root[:, None] * graph * root
    vector = root * scipy.linalg.eigh(laplacian, subset_by_index=[1, 1])[1][:, 0]
    above = vector > vector.mean()
    edge = np.zeros(count, bool)
    for coordinate in np.divmod(np.flatnonzero(inside), grid[1]):
        edge |= (coordinate == coordinate.min()) | (coordinate == coordinate.max())
    foreground[inside] = above if above[edge].mean() <= 0.5 else ~above
    return foreground


def regridded(
    foreground: Bool[np.ndarray, "image cell"], own: Grid, grid: Grid, side: int
) -> Bool[np.ndarray, "image other"]:
    """The foreground in another grid: cells with at least half of their area.

    Both grids divide the same square of `side` pixels.
    """
    if grid == own:
        return foreground
    other = np.zeros((len(foreground), grid[0] * grid[1]), bool)
    for number, cells in enumerate(foreground):
        square = cv2.resize(
            cells.reshape(own).astype(np.float32), (side, side), interpolation=cv2.INTER_NEAREST
        )
        shares = cv2.resize(square, grid[::-1], interpolation=cv2.INTER_AREA)
        other[number] = shares.ravel() >= 0.5
    return other
