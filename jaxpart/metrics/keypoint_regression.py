"""Keypoint regression: how well the centres of discovered parts tell where annotated keypoints lie.

A linear map without intercept is fitted from the centres of the parts of an image to each keypoint, as in
PDiscoNet (ICCV 2023), pdiscoformer (2024), unsup-parts (2021) and SCOPS (CVPR 2019).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64


def keypoint_errors(
    fit_centres: Float[np.ndarray, "fit part 2"],
    fit_points: Float[np.ndarray, "fit point 2"],
    fit_visible: Bool[np.ndarray, "fit point"],
    centres: Float[np.ndarray, "image part 2"],
    points: Float[np.ndarray, "image point 2"],
    visible: Bool[np.ndarray, "image point"],
    *,
    fit_active: Bool[np.ndarray, "fit part"] | None = None,
    active: Bool[np.ndarray, "image part"] | None = None,
) -> Float64[np.ndarray, "image point"]:
    """How far each keypoint of some images lies from where the parts put it.

    By least squares, one keypoint at a time, over the images that show it; inputs and targets are
    standardised by mean and population standard deviation of those of the fit. The mean over all visible
    keypoints, times 100, is the published figure.

    Args:
      fit_centres: x and y of each part in the images that are fitted; as a rule from the corner of the
        object's box, as shares of its width and height.
      fit_points: The annotated keypoints, in the same unit.
      fit_visible: Which of them count.
      centres: Of the images that are measured.
      points: Of the same.
      visible: Which of these count.
      fit_active: Which parts an image shows: inputs of the others are 0 after standardising, as in
        PDiscoNet. None: all, as in unsup-parts.
      active: The same of the images that are measured.

    Returns:
      Euclidean distances in the unit of the points; NaN where a keypoint does not count, or no image of
      the fit shows it.
    """
    errors = np.full(visible.shape, np.nan)
    for point in range(points.shape[1]):
        seen, asked = fit_visible[:, point], visible[:, point]
        if not (seen.any() and asked.any()):
            continue
        inputs, targets = _flat(fit_centres[seen]), np.asarray(fit_points[seen, point], np.float64)
        (mean, scale), (middle, length) = _moments(inputs), _moments(targets)
        fitted = _kept((inputs - mean) / scale, fit_active, seen)
        weights = np.linalg.lstsq(fitted, (targets - middle) / length, rcond=None)[0]
        measured = _kept((_flat(centres[asked]) - mean) / scale, active, asked)
        found = measured @ weights * length + middle
        errors[asked, point] = np.linalg.norm(found - points[asked, point], axis=1)
    return errors


def landmark_errors(
    fit_centres: Float[np.ndarray, "fit part 2"],
    fit_points: Float[np.ndarray, "fit point 2"],
    centres: Float[np.ndarray, "image part 2"],
    points: Float[np.ndarray, "image point 2"],
) -> Float64[np.ndarray, "image point"]:
    """The same for faces, as in SCOPS: one regression to all landmarks.

    It has no intercept, but centres and landmarks are standardised, which comes to one.

    Args:
      fit_centres: x and y of each part in the images that are fitted.
      fit_points: Their landmarks, all visible.
      centres: Of the images that are measured.
      points: Of the same; the first two are the eyes.

    Returns:
      Euclidean distances as shares of that of the eyes. The mean over landmarks, then images, is the
      published figure.
    """
    inputs, targets = _flat(fit_centres), _flat(fit_points)
    (mean, scale), (middle, length) = _moments(inputs), _moments(targets)
    weights = np.linalg.lstsq((inputs - mean) / scale, (targets - middle) / length, rcond=None)[0]
    found = ((_flat(centres) - mean) / scale @ weights * length + middle).reshape(points.shape)
    eyes = np.linalg.norm(points[:, 0] - points[:, 1], axis=1)
    return np.linalg.norm(found - points, axis=2) / eyes[:, None]


def _flat(values: Float[np.ndarray, "image part 2"]) -> Float64[np.ndarray, "image parts_by_2"]:
    return np.asarray(values, np.float64).reshape(len(values), -1)


def _moments(values: Float64[np.ndarray, "image column"]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, 1 where it is constant."""
    deviation = values.std(axis=0)
    return values.mean(axis=0), np.where(deviation > 0, deviation, 1)


def _kept(
    values: Float64[np.ndarray, "image column"],
    active: Bool[np.ndarray, "all_images part"] | None,
    chosen: Bool[np.ndarray, " all_images"],
) -> Float64[np.ndarray, "image column"]:
    """Values with 0 in place of those of parts that are not active."""
    return values if active is None else np.where(np.repeat(active[chosen], 2, axis=1), values, 0)
