"""Intervals by resampling images, against plain loops over resamples."""

import numpy as np
import pytest

from jaxpart.metrics import bootstrap
from jaxpart.metrics.bootstrap import retrieval_intervals, segmentation_intervals
from jaxpart.metrics.confusion import image_counts, segmentation_scores


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(bootstrap, "_RESAMPLES", 40)


def draws(images):
    return np.random.default_rng(0).integers(images, size=(40, images))


def ends(values):
    return np.nanquantile(values, (0.025, 0.975))


def test_segmentation(few, monkeypatch):
    rng = np.random.default_rng(1)
    matrices = rng.integers(0, 9, (7, 3, 4, 4)) * rng.integers(0, 2, (7, 3, 4, 4))
    matrices[:, :, 2] = 0  # a class that is never labelled, and in most resamples predicted
    matrices[1:, :, :, 2] = 0
    counts = np.asarray(image_counts(matrices))
    assert counts.shape == (7, 3, 3, 4)
    scores = [segmentation_scores(matrices[drawn, 1].sum(axis=0)) for drawn in draws(7)]
    found = segmentation_intervals(counts[:, 1])
    for ours, name in zip(found, ("mean_iou", "mean_accuracy", "pixel_accuracy"), strict=True):
        np.testing.assert_allclose(ours, ends([getattr(one, name) for one in scores]))
    monkeypatch.setattr(bootstrap, "_BLOCK", 21)  # three resamples at a time, the last block short
    in_blocks = segmentation_intervals(counts[:, 1])
    np.testing.assert_allclose(in_blocks, found)
    assert np.isnan(segmentation_intervals(np.zeros((2, 3, 4), int))).all()


def test_retrieval(few):
    rng = np.random.default_rng(2)
    images = np.repeat([3, 8, 9, 20, 21], (4, 1, 3, 2, 1))
    parts = rng.choice(["eye", "leg"], len(images))
    ap = rng.uniform(size=len(images))
    ap[-1] = np.nan  # with exclude_self: the only one of its part
    means, mean_means = [], []
    for drawn in draws(4):
        rows = np.concatenate([np.flatnonzero(images == (3, 8, 9, 20)[i]) for i in drawn])
        means.append(ap[rows].mean())
        of_part = [ap[rows][parts[rows] == part] for part in ("eye", "leg")]
        mean_means.append(np.mean([one.mean() for one in of_part if len(one)]))
    found = retrieval_intervals(ap, parts, images)
    np.testing.assert_allclose(found, [ends(means), ends(mean_means)])


def test_patches_of_an_image_are_not_independent():
    rng = np.random.default_rng(3)
    ap, images = rng.uniform(size=200), np.arange(200)
    once = retrieval_intervals(ap, ["eye"] * 200, images)[0]
    often = retrieval_intervals(np.repeat(ap, 9), ["eye"] * 1800, np.repeat(images, 9))[0]
    np.testing.assert_allclose(once, often)
    deviation = ap.std() / np.sqrt(200)
    assert once.high - once.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
