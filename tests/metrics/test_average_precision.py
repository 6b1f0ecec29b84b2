"""Average precision against scikit-learn and the published code."""

import concurrent.futures
import json
import subprocess
import sys
import tracemalloc

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

import jaxpart
from jaxpart.cpu.ranking import average_precision_of, symmetric_products
from jaxpart.features.cache import Shard
from jaxpart.features.extract import Features
from jaxpart.metrics.average_precision import _scores, device_queries
from jaxpart.metrics.similarities import unit_rows

NAMES = {
    "cub": {11: "right_eye", 12: "right_leg", 9: "left_wing", 14: "tail"},
    "coco": {1: "nose", 11: "right_wrist", 16: "left_ankle"},
}

_device_scores = jax.jit(_scores, static_argnums=(3, 4))


def sklearn_ap(similarities, positives):
    metrics = pytest.importorskip("sklearn.metrics")
    return np.array(
        [
            metrics.average_precision_score(right, row) if right.any() else np.nan
            for row, right in zip(similarities, positives, strict=True)
        ]
    )


@hypothesis.given(
    seed=st.integers(0, 10_000),
    items=st.integers(1, 60),
    levels=st.integers(1, 40),
    parts=st.integers(1, 5),
)
@hypothesis.settings(deadline=None, max_examples=150)
def test_ties_as_scikit_learn(seed, items, levels, parts):
    rng = np.random.default_rng(seed)
    scale = rng.choice([1, 5])  # beyond ±2 keys are wider
    similarities = (rng.integers(-levels, levels + 1, (8, items)) * (scale / levels)).astype(
        np.float32
    )
    similarities[rng.random((8, items)) < 0.1] = -0.0
    positives = rng.integers(0, parts, (8, items)) == 0
    ours = average_precision_of(similarities, positives)
    np.testing.assert_allclose(ours, sklearn_ap(similarities, positives), rtol=0, atol=1e-9)


@pytest.mark.parametrize("exclude_self", [False, True])
def test_whole_retrieval_as_scikit_learn(exclude_self):
    # Signs in 16 channels: every similarity is a multiple of 1/8 and exact, so ties are real ties.
    rng = np.random.default_rng(3)
    features = rng.choice([-1, 1], (203, 16)).astype(np.float32)
    features[7] = 0
    parts = rng.choice(["eye", "leg", "tail"], 203)
    norms = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-8)
    similarities = (features / norms) @ (features / norms).T
    positives = parts[:, None] == parts
    result = jaxpart.average_precision(features, parts, exclude_self=exclude_self)
    for i in range(203):
        kept = np.arange(203) != i if exclude_self else slice(None)
        expected = sklearn_ap(similarities[i : i + 1, kept], positives[i : i + 1, kept])
        assert abs(result.per_query[i] - expected[0]) <= 1e-9
    assert result.ap == pytest.approx(result.per_query.mean())
    assert result.mean_ap == pytest.approx(np.mean(list(result.per_part.values())))
    assert set(result.per_part) == {"eye", "leg", "tail"}


@pytest.mark.parametrize("exclude_self", [False, True])
def test_device_and_host_agree(exclude_self, monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.choice([-1, 1], (333, 16)).astype(np.float32) / 4
    labels = rng.integers(0, 4, 333).astype(np.int32)
    monkeypatch.setattr("jaxpart.metrics.average_precision._DEVICE_BLOCK_VALUES", 333 * 50)
    host = jaxpart.average_precision(rows, labels, exclude_self=exclude_self).per_query
    assert np.abs(device_queries(rows, labels, exclude_self) - host).max() <= 1e-6


def test_device_arithmetic_is_exact_where_similarities_are():
    rng = np.random.default_rng(0)
    rows = np.eye(8, dtype=np.float32)[rng.integers(0, 8, 200)]  # similarities are 0 and 1 alone
    labels = rng.integers(0, 4, 200).astype(np.int32)
    expected = sklearn_ap(rows @ rows.T, labels[:, None] == labels)
    assert np.abs(device_queries(rows, labels, False) - expected).max() <= 1e-6


@hypothesis.given(
    seed=st.integers(0, 10_000), levels=st.integers(1, 40), exclude_self=st.booleans()
)
@hypothesis.settings(deadline=None, max_examples=50)
def test_device_ties_as_scikit_learn(seed, levels, exclude_self):
    rng = np.random.default_rng(seed)
    padded, items = 48, 45
    similarities = (rng.integers(-levels, levels + 1, (8, padded)) / levels).astype(np.float32)
    similarities[rng.random((8, padded)) < 0.1] = -0.0
    labels = np.where(np.arange(padded) < items, rng.integers(0, 5, padded), -1)
    queries = rng.integers(0, items, 8)
    ours = _device_scores(similarities, labels, queries, items, exclude_self)
    for query, row, found in zip(queries, similarities, ours, strict=True):
        kept = np.arange(padded) < items
        kept[query] &= not exclude_self
        positives = labels[kept] == labels[query]
        expected = sklearn_ap(row[None, kept], positives[None])
        np.testing.assert_allclose(found, expected[0], rtol=0, atol=1e-6)


def test_golden_retrieval(golden):
    arrays = np.load(golden / "protocol/retrieval.npz")
    result = jaxpart.average_precision(arrays["features"], arrays["part"])
    assert abs(result.ap - arrays["ap"]) <= 1e-6
    assert abs(result.mean_ap - arrays["map"]) <= 1e-6
    assert np.abs(result.per_query - arrays["per_query_ap_float64"]).max() <= 2e-4
    expected = json.loads((golden / "protocol/retrieval.json").read_text())["per_part"]
    for part, value in result.per_part.items():
        assert abs(value - expected[f"part{part}"]) <= 1e-6


@pytest.mark.parametrize("method", ["ibot_full", "dino_full"])
def test_golden_features(golden, method):
    arrays = np.load(golden / f"end_to_end/{method}.npz")
    expected = json.loads((golden / f"end_to_end/{method}.json").read_text())
    patches = json.loads((golden / "protocol/patches.json").read_text())
    for key in arrays.files:
        data, representation = key.split("/")
        parts = [NAMES[data][patch["part_id"]] for patch in patches[f"{data}_retrieval"]]
        result = jaxpart.average_precision(arrays[key], parts)
        theirs = expected[data][representation]
        assert abs(result.ap - theirs["AP"]) <= 1e-4
        assert abs(result.mean_ap - theirs["mAP"]) <= 1e-4
        assert result.per_part == pytest.approx(theirs["per_part"], abs=1e-4)


def test_lonely_parts_are_left_out():
    features = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    result = jaxpart.average_precision(features, ["a", "a", "a", "b"], exclude_self=True)
    assert result.without_positives == 1
    assert np.isnan(result.per_query[3])
    assert set(result.per_part) == {"a"}
    with pytest.raises(jaxpart.JaxpartError, match="nothing to retrieve"):
        jaxpart.average_precision(features[:2], ["a", "b"], exclude_self=True)


@pytest.mark.parametrize(
    ("features", "parts", "sentence"),
    [
        (np.zeros((0, 3), np.float32), [], "neither zero"),
        (np.zeros((2, 0), np.float32), [1, 2], "neither zero"),
        (np.zeros((2, 3), np.float32), [1], "2 features, but 1 parts"),
        (np.array([[1.0], [np.nan], [np.inf]], np.float32), [1, 2, 3], "item 1 is NaN"),
    ],
)
def test_wrong_input(features, parts, sentence):
    with pytest.raises(jaxpart.JaxpartError, match=sentence):
        jaxpart.average_precision(features, parts)


@pytest.mark.slow
def test_memory_grows_with_items_not_their_square():
    code = """
import resource, numpy as np
from jaxpart.metrics.average_precision import average_precision
rng = np.random.default_rng(0)
average_precision(rng.normal(size=(500, 8)).astype(np.float32), rng.integers(0, 4, 500))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
average_precision(rng.normal(size=(8000, 8)).astype(np.float32), rng.integers(0, 4, 8000))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    grown = int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    )
    assert grown < 8000**2 * 4 / 2, "half of one float32 similarity matrix"


@pytest.mark.slow
def test_features_are_held_once_more_and_no_more():
    rng = np.random.default_rng(0)
    ids = [str(i) for i in range(6000)]
    kept = rng.standard_normal((6000, 1024), np.float32)
    shards = [Shard(ids[:2500], kept[:2500]), Shard(ids[2500:], kept[2500:])]
    features = Features(shards, ids[::-1])  # not in the order in which they are kept
    tracemalloc.start()
    rows = unit_rows(features)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    whole = features.whole()
    _, peak_whole = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * kept.nbytes
    assert peak_whole < 1.5 * kept.nbytes + rows.nbytes
    np.testing.assert_array_equal(whole, kept[::-1])
    np.testing.assert_array_equal(rows, unit_rows(whole))
    norms = np.linalg.norm(kept[::-1], axis=1, keepdims=True)
    np.testing.assert_array_equal(rows, kept[::-1] / norms)


@pytest.mark.parametrize("items", [1, 511, 512, 1100])
def test_symmetric_products(items):
    rows = np.random.default_rng(0).normal(size=(items, 7)).astype(np.float32)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        products = symmetric_products(rows, pool)
    np.testing.assert_allclose(products, rows @ rows.T, rtol=0, atol=1e-5)


def test_blocks_give_what_one_product_gives(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(150, 12)).astype(np.float32)
    parts = np.arange(150) % 4
    whole = jaxpart.average_precision(rows, parts).per_query
    monkeypatch.setattr("jaxpart.cpu.ranking._BLOCK_VALUES", 150 * 40)
    blocks = jaxpart.average_precision(rows, parts).per_query
    np.testing.assert_allclose(blocks, whole, rtol=0, atol=2e-4)  # float32 swaps near ties
