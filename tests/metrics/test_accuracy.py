"""Accuracy: bootstrap intervals against resampling item by item, paired tests against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from jaxpart.errors import JaxpartError
from jaxpart.metrics.accuracy import accuracy, item_scores, paired_difference


def test_scores_are_shares_of_seeds():
    scores = item_scores(np.array([[0, 1, 2], [0, 0, 2]]), np.array([0, 1, 1]))
    np.testing.assert_array_equal(scores, [1, 0.5, 0])


@pytest.mark.parametrize("values", [(0, 1), (0, 0.5, 1)])
def test_interval_is_that_of_resampled_items(values):
    random = np.random.default_rng(0)
    scores = random.choice(values, 200)
    means = random.choice(scores, (20_000, 200)).mean(axis=1)
    found = accuracy(scores)
    assert found.value == scores.mean()
    np.testing.assert_allclose(
        [found.low, found.high], np.quantile(means, (0.025, 0.975)), atol=0.006
    )


def test_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    found = [accuracy(random.random(150) < 0.7) for _ in range(300)]
    covered = np.mean([one.low <= 0.7 <= one.high for one in found])
    assert 0.91 < covered < 0.98


def test_perfect_and_hopeless():
    assert accuracy(np.ones(9)) == accuracy(np.ones(9, bool))
    assert (accuracy(np.zeros(9)).low, accuracy(np.zeros(9)).high) == (0, 0)
    with pytest.raises(JaxpartError, match="no test items"):
        accuracy(np.zeros(0))


def test_one_seed_is_mcnemars_exact_test():
    first = np.r_[np.ones(60), np.ones(14), np.zeros(5), np.zeros(20)]
    second = np.r_[np.ones(60), np.zeros(14), np.ones(5), np.zeros(20)]
    found = paired_difference(first, second)
    assert found.p == stats.binomtest(5, 19).pvalue
    assert (found.first_only, found.second_only) == (14, 5)
    assert found.value == pytest.approx(9 / 99)
    assert found.low < 9 / 99 < found.high
    back = paired_difference(second, first)
    assert (back.value, back.p) == (-found.value, found.p)


def test_several_seeds_are_a_permutation_test():
    random = np.random.default_rng(2)
    first, second = random.choice((0, 0.5, 1), (2, 80))
    found = paired_difference(first, second)
    signs = random.choice((-1, 1), (20_000, 80))
    sums = np.abs(signs @ (first - second))
    expected = (sums >= abs((first - second).sum()) - 1e-9).mean()
    assert found.p == pytest.approx(expected, abs=0.02)


def test_the_same_classifier_twice():
    scores = np.array([0.0, 1, 1])
    found = paired_difference(scores, scores)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    with pytest.raises(JaxpartError, match="3 and 2 items"):
        paired_difference(scores, scores[:2])
