"""Segmentation metrics from one confusion matrix over a whole data set: mIoU, mAcc, aAcc.

Matrices are counts, so they add up exactly over batches, devices and processes; ratios are taken once, in
float64, at the end (mmseg `mean_iou` and `eval_metrics`).
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64, Int, Int32

from jaxpart.labels import IGNORE


@functools.partial(jax.jit, static_argnames="classes")
def confusion_matrix(
    prediction: Int[Array, "*shape"], label: Int[Array, "*shape"], classes: int
) -> Int32[Array, "classes classes"]:
    """Counts pixels by true and predicted class, on the device.

    Args:
      prediction: 0 … classes − 1.
      label: True classes, of the same shape; 255 and other values that are not classes are ignored.
      classes: Number of classes.

    Returns:
      Entry [t, p]: pixels of class t predicted as p. Exact for fewer than 2³¹ pixels.
    """
    assert prediction.shape == label.shape, (prediction.shape, label.shape)
    label = label.astype(jnp.int32)
    counted = (label >= 0) & (label < classes) & (label != IGNORE)
    index = jnp.where(counted, label * classes + prediction.astype(jnp.int32), classes**2)
    counts = jnp.zeros(classes**2 + 1, jnp.int32).at[index.ravel()].add(1)
    return counts[:-1].reshape(classes, classes)


def image_counts(
    matrix: Int[np.ndarray, "*heads classes classes"],
) -> Int[np.ndarray, "*heads 3 classes"]:
    """Correct, labelled and predicted pixels of each class, which determine IoU and accuracy."""
    return np.stack(
        [np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1), matrix.sum(axis=-2)],
        axis=-2,
    )


@dataclasses.dataclass(frozen=True)
class SegmentationScores:
    """Scores of a confusion matrix, from 0 to 1.

    Attributes:
      iou: Intersection over union of each class; NaN for classes neither labelled nor predicted.
      accuracy: Share of each class's labelled pixels that is correct; NaN without labelled pixels.
      mean_iou: mIoU, the mean of `iou` ignoring NaN.
      mean_accuracy: mAcc, the mean of `accuracy` ignoring NaN.
      pixel_accuracy: aAcc, the share of all labelled pixels that is correct; NaN without any.
    """

    iou: Float64[np.ndarray, " classes"]
    accuracy: Float64[np.ndarray, " classes"]
    mean_iou: float
    mean_accuracy: float
    pixel_accuracy: float


def segmentation_scores(matrix: Int[np.ndarray, "classes classes"]) -> SegmentationScores:
    """mIoU, mAcc and aAcc, and the scores of each class.

    The rows of the matrix are true classes, the columns predicted ones.
    """
    matrix = np.asarray(matrix, np.int64)
    correct = np.diagonal(matrix)
    labelled, predicted = matrix.sum(1), matrix.sum(0)
    iou = ratio(correct, labelled + predicted - correct)
    accuracy = ratio(correct, labelled)
    return SegmentationScores(
        iou=iou,
        accuracy=accuracy,
        mean_iou=float(mean_of_numbers(iou)),
        mean_accuracy=float(mean_of_numbers(accuracy)),
        pixel_accuracy=float(ratio(correct.sum(), labelled.sum())),
    )


def ratio(numerator, denominator) -> np.ndarray:
    """Elementwise ratio in float64; NaN where the denominator is 0."""
    denominator = np.asarray(denominator, np.float64)
    return np.asarray(numerator, np.float64) / np.where(denominator == 0, np.nan, denominator)


def mean_of_numbers(values: Float64[np.ndarray, "*rows column"]) -> Float64[np.ndarray, "*rows"]:
    """Mean over the last axis ignoring NaN; NaN, without a warning, if all values are NaN."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1))
