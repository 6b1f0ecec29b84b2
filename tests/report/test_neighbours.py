"""Nearest patches, exactly, however they are cut into blocks."""

import jax
import numpy as np
import pytest

from jaxpart.report import neighbours
from jaxpart.report.neighbours import nearest_patches


@pytest.mark.parametrize(("count", "queries", "keys"), [(50, 2048, 8192), (53, 16, 20), (3, 2, 2)])
def test_as_sorting_all_similarities(monkeypatch, count, queries, keys):
    monkeypatch.setattr(neighbours, "_QUERIES", queries)
    monkeypatch.setattr(neighbours, "_KEYS", keys)
    rows = np.random.default_rng(0).standard_normal((count, 5)).astype(np.float32)
    seen = []
    index, similarity = nearest_patches(rows, 6, seen.append)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    product = unit @ unit.T
    np.fill_diagonal(product, -np.inf)
    order = np.argsort(-product, axis=1, kind="stable")[:, : min(6, count - 1)]
    assert np.array_equal(index, order)
    np.testing.assert_allclose(similarity, np.take_along_axis(product, order, 1), atol=1e-6)
    assert sum(seen) == count


def test_a_patch_is_never_its_own_neighbour():
    rows = np.ones((40, 4), np.float32)  # as similar as can be: the lower numbers come first
    index, similarity = nearest_patches(rows, 3)
    assert (index != np.arange(40)[:, None]).all()
    assert index[30].tolist() == [0, 1, 2]
    np.testing.assert_allclose(similarity, 1, atol=1e-6)
    assert nearest_patches(rows[:1], 24)[0].shape == (1, 0)


def test_memory_is_flat():
    patches, channels = 200_000, 96
    keys = jax.ShapeDtypeStruct((patches, channels), np.float32)
    queries = jax.ShapeDtypeStruct((2048, channels), np.float32)
    program = neighbours._search.lower(keys, queries, neighbours=25, block=8192).compile()
    held = program.memory_analysis().temp_size_in_bytes
    assert held < 4 * patches * channels * 2 + (300 << 20)  # the keys in blocks, and one block's
