"""Paired differences over images: their values, intervals that hold them, and p where nothing differs."""

import itertools

import numpy as np
import pytest

from jaxpart.metrics.confusion import segmentation_scores
from jaxpart.metrics.paired import retrieval_difference, segmentation_difference

RANDOM = np.random.default_rng(0)


def test_retrieval():
    images = np.repeat(np.arange(40), 3)
    second = RANDOM.uniform(0, 0.8, 120)
    first = second + np.repeat(RANDOM.normal(0.1, 0.05, 40), 3)
    first[5] = second[5] = np.nan
    found = retrieval_difference(first, second, images)
    assert found.value == pytest.approx(np.nanmean(first - second))
    assert found.low < found.value < found.high
    assert found.p < 0.01
    assert (found.first_only, found.second_only) == (
        (first > second).sum(),
        (first < second).sum(),
    )
    back = retrieval_difference(second, first, images)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-found.value, -found.high, -found.low)
    )
    same = retrieval_difference(first, first, images)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_queries_of_one_image_are_no_independent_evidence():
    """All queries of a few images: what looks like 200 wins is five, one way or the other."""
    images = np.repeat(np.arange(5), 40)
    first = np.repeat([0.6, 0.7, 0.5, 0.6, 0.7], 40)
    second = np.full(200, 0.4)
    found = retrieval_difference(first, second, images)
    assert found.p == pytest.approx(2 / 2**5, abs=0.02)


def counts_of(matrices):
    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    return np.stack([diagonal, matrices.sum(axis=2), matrices.sum(axis=1)], axis=1)


def test_segmentation():
    left, right = (RANDOM.integers(0, 9, (12, 4, 4)) for _ in range(2))
    left[:, range(4), range(4)] += 20
    right[:, range(4), range(4)] += 10
    left[:, 3], right[:, 3], left[:, :, 3], right[:, :, 3] = 0, 0, 0, 0  # absent: IoU is NaN
    found = segmentation_difference(counts_of(left), counts_of(right))
    scores = [segmentation_scores(matrices.sum(axis=0)).mean_iou for matrices in (left, right)]
    assert found.value == pytest.approx(scores[0] - scores[1])
    assert found.low < found.value < found.high
    assert found.p < 0.01
    assert found.first_only + found.second_only == 12


def test_the_share_of_swaps_is_that_of_all():
    """With few images every toss of the coins can be enumerated."""
    left, right = (counts_of(RANDOM.integers(1, 30, (6, 3, 3))) for _ in range(2))
    right[:, 1] = left[:, 1]

    def miou(counts):
        found, labelled, predicted = counts.sum(axis=0)
        return (found / (labelled + predicted - found)).mean()

    differences = []
    for coins in itertools.product([False, True], repeat=6):
        swap = np.array(coins)[:, None, None]
        differences.append(miou(np.where(swap, right, left)) - miou(np.where(swap, left, right)))
    wanted = (np.abs(differences) >= abs(differences[0]) - 1e-12).mean()
    assert segmentation_difference(left, right).p == pytest.approx(wanted, abs=0.04)
