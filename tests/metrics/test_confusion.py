"""The confusion matrix against counting one by one, scikit-learn and the golden scores."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays

from jaxpart.metrics.confusion import (
    confusion_matrix,
    segmentation_scores,
)

CLASSES = 4


def brute_force(prediction, label):
    """Scores by sets of pixels, class by class, without a matrix."""
    kept = [(p, t) for p, t in zip(prediction.flat, label.flat, strict=True) if t != 255]
    iou, accuracy = [], []
    for c in range(CLASSES):
        both = sum(p == c and t == c for p, t in kept)
        either = sum(p == c or t == c for p, t in kept)
        labelled = sum(t == c for p, t in kept)
        iou.append(both / either if either else np.nan)
        accuracy.append(both / labelled if labelled else np.nan)
    right = sum(p == t for p, t in kept)
    return iou, accuracy, right / len(kept) if kept else np.nan


def mean(values):
    values = [value for value in values if not np.isnan(value)]
    return sum(values) / len(values) if values else np.nan


@settings(deadline=None, max_examples=60)
@given(
    prediction=numpy_arrays(np.int32, (3, 4), elements=st.integers(0, CLASSES - 1)),
    label=numpy_arrays(np.int32, (3, 4), elements=st.sampled_from([0, 1, 2, 3, 255])),
)
def test_scores_are_those_of_counting(prediction, label):
    scores = segmentation_scores(confusion_matrix(prediction, label, CLASSES))
    iou, accuracy, right = brute_force(prediction, label)
    np.testing.assert_array_equal(scores.iou, iou)
    np.testing.assert_array_equal(scores.accuracy, accuracy)
    np.testing.assert_allclose(scores.mean_iou, mean(iou), rtol=1e-12)
    np.testing.assert_allclose(scores.mean_accuracy, mean(accuracy), rtol=1e-12)
    np.testing.assert_array_equal(scores.pixel_accuracy, right)


def test_matrix_is_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    prediction, label = random.integers(0, 209, (2, 40, 50))
    ours = confusion_matrix(prediction, label, 209)
    theirs = sklearn.confusion_matrix(label.ravel(), prediction.ravel(), labels=range(209))
    np.testing.assert_array_equal(ours, theirs)


def test_golden_scores(golden):
    arrays = np.load(golden / "protocol/segmentation.npz")
    pairs = ((arrays[f"pred{index}"], arrays[f"label{index}"]) for index in range(3))
    scores = segmentation_scores(sum(confusion_matrix(*pair, 6) for pair in pairs))
    np.testing.assert_array_equal(scores.iou, arrays["iou_per_class"])
    np.testing.assert_array_equal(scores.accuracy, arrays["acc_per_class"])
    assert scores.pixel_accuracy == arrays["aAcc"]


def test_all_ignored_images_add_nothing_and_alone_give_nan():
    prediction = np.ones((5, 5), np.int32)
    matrix = confusion_matrix(prediction, np.full((5, 5), 255), CLASSES)
    assert not matrix.any()
    scores = segmentation_scores(matrix)
    assert np.isnan(scores.iou).all()
    assert np.isnan(scores.accuracy).all()
    assert np.isnan([scores.mean_iou, scores.mean_accuracy, scores.pixel_accuracy]).all()


def test_255_classes_do_not_swallow_the_ignored():
    label = np.asarray([[254, 255]])
    matrix = np.asarray(confusion_matrix(np.asarray([[254, 3]]), label, 255))
    assert matrix.sum() == matrix[254, 254] == 1


def test_matrices_add_up_over_devices():
    random = np.random.default_rng(0)
    prediction, label = random.integers(0, CLASSES, (2, 4, 6, 6))
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:4]), "data")
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    over_devices = confusion_matrix(
        jax.device_put(prediction, spread), jax.device_put(label, spread), CLASSES
    )
    np.testing.assert_array_equal(over_devices, confusion_matrix(prediction, label, CLASSES))
