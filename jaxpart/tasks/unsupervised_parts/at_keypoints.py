"""Scores of unsupervised parts at keypoints: agreement of labels, and regression from part centres."""

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
    """The parts at the keypoints of a split.

    Attributes:
      centres: x and y of each part, relative to the object's box.
      shown: Which parts each image shows.
      whole: The label at each keypoint: a part, or the number of parts for the background.
      parts: The part at each keypoint, ignoring the foreground.
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
    """Reads the parts at the keypoints of a split."""
    size = images.side, images.side
    one_hot = np.eye(parts + 1, dtype=np.float32)
    part_centres, shown = np.zeros((len(labels), parts, 2)), np.zeros((len(labels), parts), bool)
    labels_at, parts_at = (np.zeros(len(images.xy), np.int64) for _ in range(2))
    # A map for every keypoint.
    values_per_image = labels.shape[1] * (parts + 1) * images.points.shape[1]
    for block in blocks(len(labels), values_per_image):
        cell_parts = labels[block]
        cell_labels = np.where(foreground[block], cell_parts, parts)
        maps, part_maps = (
            np.moveaxis(one_hot[cells].reshape(len(cells), *grid, -1), 3, 1)
            for cells in (cell_labels, cell_parts)
        )
        part_centres[block] = centres(maps[:, :parts], size)
        shown[block] = shown_parts(maps[:, :parts])
        points = (images.image >= block.start) & (images.image < block.stop)
        for channels, result in ((maps, labels_at), (part_maps[:, :parts], parts_at)):
            number, xy = images.image[points] - block.start, images.xy[points]
            result[points] = values_at(channels, number, xy, size).argmax(axis=1)
    return AtKeypoints(images.in_boxes(part_centres), shown, labels_at, parts_at)


def part_errors(
    fit_images: Annotated, fit: AtKeypoints, images: Annotated, test: AtKeypoints
) -> Float64[np.ndarray, "image part"]:
    """Distance of each keypoint from its prediction by the parts, see `keypoint_errors`."""
    return keypoint_errors(
        fit.centres,
        fit_images.in_boxes(fit_images.points),
        fit_images.visible,
        test.centres,
        images.in_boxes(images.points),
        images.visible,
        fit_active=fit.shown,
        active=test.shown,
    )


def part_scores(
    row: Callable[..., Row],
    images: Annotated,
    parts: AtKeypoints,
    errors: Float64[np.ndarray, "image part"],
    error: str,
) -> Iterator[Row]:
    """Yields "NMI", "ARI", "FG-NMI", "FG-ARI" and the mean error, with 95 % intervals over images."""
    for prefix, labels in (("", parts.whole), ("FG-", parts.parts)):
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
