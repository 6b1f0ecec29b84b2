"""What parts that nobody named are to keypoints: the part at each, and how well their centres tell them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from jaxpart.encoders.positions import Grid
from jaxpart.metrics.bootstrap import ratio_interval
from jaxpart.metrics.keypoint_regression import keypoint_errors
from jaxpart.metrics.label_agreement import agreement
from jaxpart.runs.rows import Row
from jaxpart.tasks.unsupervised_parts.annotated import Annotated
from jaxpart.tasks.unsupervised_parts.clustering import blocks
from jaxpart.tasks.unsupervised_parts.part_maps import centres, shown_parts, values_at


class AtKeypoints(NamedTuple):
    """What the parts of a split are to its keypoints.

    Attributes:
      centres: x and y of each part from the corner of the box, in shares of its sides.
      shown: Which parts an image shows.
      whole: The label at each keypoint: a part, or after the last one the background.
      parts: The part at each, wherever the foreground is.
    """

    centres: Float64[np.ndarray, "image part 2"]
    shown: Bool[np.ndarray, "image part"]
    whole: Int[np.ndarray, " keypoint"]
    parts: Int[np.ndarray, " keypoint"]


def at_keypoints(
    images: Annotated,
    labels: Int[np.ndarray, "image cell"],
    foreground: Bool[np.ndarray, "image cell"],
    grid: Grid,
    parts: int,
) -> AtKeypoints:
    """Looks parts up at the keypoints of a split.

    Args:
      images: With their keypoints.
      labels: The part of each token, row by row.
      foreground: Which tokens count.
      grid: Of the tokens.
      parts: How many there are.
    """
    size = images.side, images.side
    one_hot = np.eye(parts + 1, dtype=np.float32)
    middles, shown = np.zeros((len(labels), parts, 2)), np.zeros((len(labels), parts), bool)
    whole, alone = (np.zeros(len(images.xy), np.int64) for _ in range(2))
    each = labels.shape[1] * (parts + 1) * images.points.shape[1]  # a map for every keypoint
    for some in blocks(len(labels), each):
        of_cells = labels[some]
        with_rest = np.where(foreground[some], of_cells, parts)
        maps, bare = (
            np.moveaxis(one_hot[cells].reshape(len(cells), *grid, -1), 3, 1)
            for cells in (with_rest, of_cells)
        )
        middles[some] = centres(maps[:, :parts], size)
        shown[some] = shown_parts(maps[:, :parts])
        mine = (images.image >= some.start) & (images.image < some.stop)
        for channels, found in ((maps, whole), (bare[:, :parts], alone)):
            at = values_at(channels, images.image[mine] - some.start, images.xy[mine], size)
            found[mine] = at.argmax(axis=1)
    return AtKeypoints(images.in_boxes(middles), shown, whole, alone)


def part_errors(
    fit_images: Annotated, fit: AtKeypoints, images: Annotated, found: AtKeypoints
) -> Float64[np.ndarray, "image part"]:
    """How far each keypoint lies from where the parts put it, see `keypoint_errors`.

    Args:
      fit_images: The images to which the regression is fitted.
      fit: Their parts.
      images: Those that are measured.
      found: Their parts.
    """
    return keypoint_errors(
        fit.centres,
        fit_images.in_boxes(fit_images.points),
        fit_images.visible,
        found.centres,
        images.in_boxes(images.points),
        images.visible,
        fit_active=fit.shown,
        active=found.shown,
    )


def part_scores(
    row: Callable[..., Row],
    images: Annotated,
    found: AtKeypoints,
    errors: Float64[np.ndarray, "image part"],
    error: str,
) -> Iterator[Row]:
    """Yields "NMI", "ARI", "FG-NMI", "FG-ARI" and the mean error, with 95 % intervals over images.

    Args:
      row: Makes a row of a metric, a value, low and high.
      images: The images that were measured.
      found: Their parts.
      errors: Of `part_errors`.
      error: What the metric of these is called.
    """
    for prefix, labels in (("", found.whole), ("FG-", found.parts)):
        score = agreement(images.part, labels, images.image)
        low, high = score.nmi_interval
        yield row(f"{prefix}NMI", score.nmi, low=low, high=high)
        low, high = score.ari_interval
        yield row(f"{prefix}ARI", score.ari, low=low, high=high)
    counted = ~np.isnan(errors)
    if counted.any():
        table = np.stack([np.nansum(errors, axis=1), counted.sum(axis=1)], axis=1)
        low, high = ratio_interval(table[counted.any(axis=1)])
        yield row(error, float(errors[counted].mean()), low=low, high=high)
