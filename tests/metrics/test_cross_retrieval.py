"""Queries that retrieve other items, and what chance gives."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from jaxpart.errors import JaxpartError
from jaxpart.metrics.average_precision import average_precision, average_precision_of
from jaxpart.metrics.cross_retrieval import chance_level, cross_average_precision


def test_as_scikit_learn():
    rng = np.random.default_rng(0)
    queries, keys = rng.normal(size=(5, 4)), rng.normal(size=(30, 4))
    mine, theirs = list("abcab"), [*"abc"] * 10
    found = cross_average_precision(queries, keys, mine, theirs)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, keys)]
    for i, part in enumerate(mine):
        truth = [part == other for other in theirs]
        expected = average_precision_score(truth, (unit[0] @ unit[1].T)[i].astype(np.float32))
        assert abs(found[i] - expected) <= 1e-6


def test_itself_included_is_average_precision():
    rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    parts = [*"abcd"] * 5
    whole = average_precision(rows, parts)
    assert np.abs(cross_average_precision(rows, rows, parts, parts) - whole.per_query).max() < 1e-6


@pytest.mark.parametrize("itself", [False, True])
def test_chance_is_what_random_orders_give(itself):
    parts = np.array([*"aaabbbbccccccccccccc"])
    rng = np.random.default_rng(0)
    order = rng.uniform(size=(300, len(parts), len(parts))).astype(np.float32)
    if itself:
        order[:, np.arange(len(parts)), np.arange(len(parts))] = 1.5
    positives = np.broadcast_to(parts[:, None] == parts, order.shape)
    found = average_precision_of(order.reshape(-1, len(parts)), positives.reshape(-1, len(parts)))
    assert chance_level(parts, parts, itself=itself) == pytest.approx(np.mean(found), abs=0.006)


def test_corners():
    assert chance_level(["a"], ["a"]) == 1
    assert chance_level(["a", "b"], ["a", "b"], itself=True) == 1
    assert chance_level(["a"], ["b", "c"]) == 0
    with pytest.raises(JaxpartError, match="same channels"):
        cross_average_precision(np.ones((2, 3)), np.ones((2, 4)), "ab", "ab")
