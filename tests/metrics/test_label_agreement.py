"""NMI and ARI against scikit-learn's (golden/protocol/unsupervised_parts) and their intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpart.metrics.label_agreement import _table_scores, agreement, scores

CASES = (
    "random_k8",
    "informative_k4",
    "informative_k16_with_background",
    "permuted_equal",
    "one_cluster",
    "both_constant",
    "negative_ari",
    "every_point_alone",
    "tiny",
)


@pytest.mark.parametrize("case", CASES)
def test_golden(golden, case):
    arrays = np.load(golden / "protocol/unsupervised_parts.npz")
    labels, clusters = (arrays[f"labels/{case}/{name}"] for name in ("true", "pred"))
    found = agreement(labels, clusters, np.arange(len(labels)) // 4)
    for value, name in ((found.nmi, "nmi"), (found.ari, "ari")):
        assert value == pytest.approx(float(arrays[f"labels/{case}/{name}"]), abs=1e-9)
    for value, (low, high) in ((found.nmi, found.nmi_interval), (found.ari, found.ari_interval)):
        assert low - 1e-9 <= value <= high + 1e-9


pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=20)


@given(pairs)
def test_tables_have_the_scores_of_their_items(items):
    """The formulas of resamples are scikit-learn's, whatever rows and columns are empty."""
    labels, clusters = np.array(items).T
    table = np.zeros((1, 4, 3))
    np.add.at(table[0], (labels, clusters), 1)
    (nmi,), (ari,) = _table_scores(table)
    assert (nmi, ari) == pytest.approx(scores(labels, clusters), abs=1e-9)


def test_intervals_are_over_images():
    """Items of one image are drawn together: an image copied ten times over tells no more."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    clusters = np.where(rng.random(60) < 0.6, labels, rng.integers(0, 3, 60))
    images = np.arange(60) // 3
    once = agreement(labels, clusters, images)
    often = agreement(*(np.tile(values, 10) for values in (labels, clusters, images)))
    assert once.nmi == pytest.approx(often.nmi)
    np.testing.assert_allclose(once.nmi_interval, often.nmi_interval)
    assert once.ari_interval.low < once.ari < once.ari_interval.high
    alone = agreement(*(np.tile(v, 10) for v in (labels, clusters)), np.arange(600))
    width = [high - low for low, high in (once.ari_interval, alone.ari_interval)]
    assert width[1] < width[0] / 2
