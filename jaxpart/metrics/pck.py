"""PCK: the share of keypoints that are found within a distance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxpart.metrics.bootstrap import Interval, ratio_interval


class Pck(NamedTuple):
    """Shares of 1; NaN where no point counts.

    Attributes:
      by_point: Of all points together.
      by_image: Mean over pairs of each one's share; pairs without a point that counts are left out.
      per_pair: Each pair's share; NaN where none of its points counts.
      points: How many count.
    """

    by_point: float
    by_image: float
    per_pair: np.ndarray
    points: int


def pck(right: Bool[np.ndarray, "pair point"], counted: Bool[np.ndarray, "pair point"]) -> Pck:
    """PCK by point and by image.

    Args:
      right: Whether each point was found.
      counted: Which points count: as a rule those visible in both images.
    """
    found, count = (right & counted).sum(axis=1), counted.sum(axis=1)
    per_pair = np.full(len(count), np.nan)
    np.divide(found, count, out=per_pair, where=count > 0)
    total = int(count.sum())
    if not total:
        return Pck(float("nan"), float("nan"), per_pair, 0)
    return Pck(float(found.sum() / total), float(np.nanmean(per_pair)), per_pair, total)


def pck_intervals(
    right: Bool[np.ndarray, "pair point"],
    counted: Bool[np.ndarray, "pair point"],
    images: Int[np.ndarray, " pair"],
    *,
    seed: int = 0,
) -> tuple[Interval, Interval]:
    """95 % intervals of PCK by point and by image, over target images: their pairs are not independent.

    Args:
      right: Whether each point was found.
      counted: Which points count.
      images: Target image of each pair.
      seed: Of the resampling.
    """
    per_pair = pck(right, counted).per_pair
    defined = ~np.isnan(per_pair)
    _, image = np.unique(images[defined], return_inverse=True)
    columns = (
        (right & counted).sum(axis=1)[defined],
        counted.sum(axis=1)[defined],
        per_pair[defined],
        np.ones(int(defined.sum())),
    )
    sums = [np.bincount(image, column) for column in columns]
    points, pairs = np.stack(sums[:2], axis=1), np.stack(sums[2:], axis=1)
    return ratio_interval(points, seed=seed), ratio_interval(pairs, seed=seed)


def interchangeable(
    visible: Bool[np.ndarray, "pair point"], groups: Int[np.ndarray, "pair point"]
) -> Bool[np.ndarray, "pair point"]:
    """The points that one of the same image could be taken for (GeoAware-SC's subset, by keypoint id).

    Args:
      visible: Which points are visible in the target image.
      groups: Number of each point's group of interchangeable parts; -1: alone.

    Returns:
      Of each point, whether it has a group of which at least two points are visible in the target.
    """
    found = np.zeros(visible.shape, bool)
    for group in np.unique(groups[groups >= 0]):
        members = groups == group
        several = (visible & members).sum(axis=1) >= 2
        found |= members & several[:, None]
    return found
