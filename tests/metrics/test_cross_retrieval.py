"""Queries that retrieve other items."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from jaxpart.errors import JaxpartError
from jaxpart.metrics.average_precision import average_precision
from jaxpart.metrics.cross_retrieval import cross_average_precision


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


def test_wrong_input():
    with pytest.raises(JaxpartError, match="same channels"):
        cross_average_precision(np.ones((2, 3)), np.ones((2, 4)), "ab", "ab")
    with pytest.raises(JaxpartError, match="one part per feature"):
        cross_average_precision(np.ones((2, 3)), np.ones((2, 3)), "a", "ab")
