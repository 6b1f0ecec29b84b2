"""PCK: percentage of correct keypoints, those predicted within a distance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxpart.metrics.bootstrap import Interval, ratio_interval


class Pck(NamedTuple):
    """PCK, from 0 to 1; NaN if no point counts.

    Attributes:
      by_point: Share of all points.
      by_image: Mean of the pairs' shares, excluding pairs without counted points.
      per_pair: Each pair's share; NaN if none of its points counts.
      points: Number of counted points.
    """

    by_point: float
    by_image: float
    per_pair: np.ndarray
    points: int


def pck(right: Bool[np.ndarray, "pair point"], counted: Bool[np.ndarray, "pair point"]) -> Pck:
    """PCK by point and by image."""
    correct, count = (right & counted).sum(axis=1), counted.sum(axis=1)
    per_pair = np.full(len(count), np.nan)
    np.divide(correct, count, out=per_pair, where=count > 0)
    total = int(count.sum())
    if not total:
        return Pck(float("nan"), float("nan"), per_pair, 0)
    return Pck(float(correct.sum() / total), float(np.nanmean(per_pair)), per_pair, total)


def pck_intervals(
    right: Bool[np.ndarray, "pair point"],
    counted: Bool[np.ndarray, "pair point"],
    images: Int[np.ndarray, " pair"],
) -> tuple[Interval, Interval]:
    """95 % intervals of PCK by point and by image, over target images, since their pairs are dependent."""
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
    return ratio_interval(points), ratio_interval(pairs)


def interchangeable(
    visible: Bool[np.ndarray, "pair point"], groups: Int[np.ndarray, "pair point"]
) -> Bool[np.ndarray, "pair point"]:
    """Points that could be confused with another in the same image (GeoAware-SC's subset, by keypoint id).

    The group of a point is -1 if it belongs to none.

    Returns:
      Whether at least two points of each point's group are visible in the target.
    """
    confusable = np.zeros(visible.shape, bool)
    for group in np.unique(groups[groups >= 0]):
        members = groups == group
        several = (visible & members).sum(axis=1) >= 2
        confusable |= members & several[:, None]
    return confusable
