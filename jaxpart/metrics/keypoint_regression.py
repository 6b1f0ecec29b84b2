"""Keypoint regression: how well the centres of discovered parts predict annotated keypoints.

A linear map without intercept is fitted from the centres of an image's parts to each keypoint, as in
PDiscoNet (ICCV 2023), pdiscoformer (2024), unsup-parts (2021) and SCOPS (CVPR 2019).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64

from jaxpart.metrics.moments import moments


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
    """Distance of each keypoint from its prediction from the parts.

    Least squares, one keypoint at a time, over the images that show it; inputs and targets are standardised
    by mean and population standard deviation of the training images. The mean over all visible keypoints,
    times 100, is the published metric.

    The points of training and test images have the same unit, usually shares of the object's box;
    `visible` are those that count. The inputs of parts that are not `active` are 0 after standardising,
    as in PDiscoNet; None: all are active, as in unsup-parts.

    Returns:
      Euclidean distances in the unit of the points; NaN for keypoints that do not count or that no training
      image shows.
    """
    errors = np.full(visible.shape, np.nan)
    for point in range(points.shape[1]):
        train, test = fit_visible[:, point], visible[:, point]
        if not (train.any() and test.any()):
            continue
        inputs = _flat(fit_centres[train])
        targets = np.asarray(fit_points[train, point], np.float64)
        (mean, scale), (target_mean, target_scale) = moments(inputs), moments(targets)
        fitted = _active_only((inputs - mean) / scale, fit_active, train)
        weights = np.linalg.lstsq(fitted, (targets - target_mean) / target_scale, rcond=None)[0]
        test_inputs = _active_only((_flat(centres[test]) - mean) / scale, active, test)
        predicted = test_inputs @ weights * target_scale + target_mean
        errors[test, point] = np.linalg.norm(predicted - points[test, point], axis=1)
    return errors


def landmark_errors(
    fit_centres: Float[np.ndarray, "fit part 2"],
    fit_points: Float[np.ndarray, "fit point 2"],
    centres: Float[np.ndarray, "image part 2"],
    points: Float[np.ndarray, "image point 2"],
) -> Float64[np.ndarray, "image point"]:
    """Errors of face landmarks as in SCOPS: one regression to all landmarks, relative to the eyes.

    It has no intercept either, but centres and landmarks are standardised, which has the same effect.

    All landmarks are visible, and the first two are the eyes.

    Returns:
      Euclidean distances divided by the distance between the eyes. The mean over landmarks, then images, is
      the published metric.
    """
    inputs, targets = _flat(fit_centres), _flat(fit_points)
    (mean, scale), (target_mean, target_scale) = moments(inputs), moments(targets)
    standardised = (inputs - mean) / scale, (targets - target_mean) / target_scale
    weights = np.linalg.lstsq(*standardised, rcond=None)[0]
    predicted = (_flat(centres) - mean) / scale @ weights * target_scale + target_mean
    predicted = predicted.reshape(points.shape)
    eyes = np.linalg.norm(points[:, 0] - points[:, 1], axis=1)
    return np.linalg.norm(predicted - points, axis=2) / eyes[:, None]


def _flat(values: Float[np.ndarray, "image part 2"]) -> Float64[np.ndarray, "image parts_by_2"]:
    return np.asarray(values, np.float64).reshape(len(values), -1)


def _active_only(
    values: Float64[np.ndarray, "image column"],
    active: Bool[np.ndarray, "all_images part"] | None,
    chosen: Bool[np.ndarray, " all_images"],
) -> Float64[np.ndarray, "image column"]:
    """Sets the values of inactive parts to 0."""
    return values if active is None else np.where(np.repeat(active[chosen], 2, axis=1), values, 0)
