"""k nearest neighbours and logistic regression against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpart.probes import neighbours
from jaxpart.probes.logistic import logistic_regression
from jaxpart.probes.neighbours import nearest_neighbours

random = np.random.default_rng(0)
LABELS = random.integers(0, 3, 120)
FEATURES = random.normal(size=(120, 6)).astype(np.float32)
FEATURES[:, :3] += 1.5 * np.eye(3, dtype=np.float32)[LABELS]
TRAIN, TEST = FEATURES[:90], FEATURES[90:]


@pytest.mark.parametrize("k", [1, 7, 500])
def test_neighbours_are_scikit_learns(k, monkeypatch):
    sklearn = pytest.importorskip("sklearn.neighbors")
    monkeypatch.setattr(neighbours, "_NEIGHBOURS", k)
    monkeypatch.setattr(neighbours, "_BLOCK_VALUES", 90 * 7)  # 30 queries in blocks of 7
    reference = sklearn.KNeighborsClassifier(
        min(k, 90), metric="cosine", weights=lambda distance: np.exp(-distance / 0.07)
    )
    expected = reference.fit(TRAIN, LABELS[:90]).predict(TEST)
    np.testing.assert_array_equal(nearest_neighbours(TRAIN, LABELS[:90], TEST), expected)


def test_logistic_regression_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(TRAIN)
    reference = linear_model.LogisticRegression(C=1, max_iter=1000)
    reference.fit(scaler.transform(TRAIN), LABELS[:90])
    found = logistic_regression(TRAIN, LABELS[:90], TEST)
    np.testing.assert_array_equal(found, reference.predict(scaler.transform(TEST)))


@pytest.mark.parametrize(("constant", "tested"), [(1, 1), (0.37, 0.38)])
def test_a_constant_channel_is_no_trouble(constant, tested):
    train = np.c_[TRAIN, np.full(len(TRAIN), constant, np.float32)]
    test = np.c_[TEST, np.full(len(TEST), tested, np.float32)]
    found = logistic_regression(train, LABELS[:90], test)
    np.testing.assert_array_equal(found, logistic_regression(TRAIN, LABELS[:90], TEST))
