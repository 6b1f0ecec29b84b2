"""Nearest labelled patches: against NumPy's full sort, with ties, and on patches easy to tell."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpart.errors import JaxpartError
from jaxpart.probes.incontext import Memory, make_memory, nearest, nearest_labels, patch_shares


def test_shares_are_those_of_counting():
    random = np.random.default_rng(0)
    labels = random.choice([0, 1, 2, 255], (2, 12, 20))
    labels[0, :4, :5] = 255
    shares = np.asarray(patch_shares(labels, (3, 4), 3))
    for b in range(2):
        for i in range(3):
            for j in range(4):
                patch = labels[b, 4 * i : 4 * i + 4, 5 * j : 5 * j + 5]
                counts = [(patch == c).sum() for c in range(3)]
                np.testing.assert_allclose(
                    shares[b, i, j], np.divide(counts, max(sum(counts), 1)), atol=1e-6
                )
    assert not shares[0, 0, 0].any()


@pytest.mark.parametrize("block", [1, 7, 16, 100])
def test_blocks_find_what_a_full_sort_finds_ties_included(block):
    random = np.random.default_rng(0)
    # Small integers: products are exact, and many are equal.
    keys = random.integers(-2, 3, (53, 4)).astype(np.float32)
    queries = random.integers(-2, 3, (9, 4)).astype(np.float32)
    similarity, index = nearest(jnp.asarray(keys), jnp.asarray(queries), neighbours=6, block=block)
    products = queries @ keys.T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :6]
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_array_equal(similarity, np.take_along_axis(products, expected, 1))


@pytest.mark.parametrize(("neighbours", "block"), [(1, 10), (8, 10), (8, None), (500, 37)])
def test_labels_are_the_softmax_over_the_nearest(neighbours, block):
    random = np.random.default_rng(1)
    memory = make_memory(random.normal(size=(60, 5)), random.dirichlet(np.ones(3), 60))
    queries = random.normal(size=(2, 4, 5)).astype(np.float32)
    ours = nearest_labels(memory, queries, neighbours=neighbours, temperature=0.1, block=block)
    unit = queries / np.linalg.norm(queries, axis=-1, keepdims=True)
    similarity = unit @ np.asarray(memory.keys).T
    for place in np.ndindex(2, 4):
        chosen = np.argsort(-similarity[place], kind="stable")[:neighbours]
        weights = np.exp(similarity[place][chosen] / 0.1)
        expected = weights / weights.sum() @ np.asarray(memory.values)[chosen]
        np.testing.assert_allclose(ours[place], expected, atol=1e-5)
    np.testing.assert_allclose(ours.sum(-1), 1, atol=1e-5)


def test_memory_leaves_out_patches_without_a_labelled_pixel():
    features = np.asarray([[[3.0, 4.0], [0.0, 0.0]], [[1.0, 0.0], [5.0, 0.0]]])
    shares = np.asarray([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 0.0], [0.0, 1.0]]])
    memory = make_memory(features, shares)
    np.testing.assert_allclose(memory.keys, [[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]], atol=1e-6)
    np.testing.assert_array_equal(memory.values, [[1, 0], [0.5, 0.5], [0, 1]])


def test_patches_of_distinct_classes_are_told_apart():
    random = np.random.default_rng(2)
    centres = random.normal(size=(4, 16))
    labels = random.integers(0, 4, (3, 5, 5))
    features = centres[labels] + 0.1 * random.normal(size=(3, 5, 5, 16))
    shares = patch_shares(labels.repeat(8, 1).repeat(8, 2), (5, 5), 4)
    memory = make_memory(features[:2], shares[:2])
    predicted = nearest_labels(
        memory, jnp.asarray(features[2]), neighbours=5, temperature=0.02
    ).argmax(-1)
    np.testing.assert_array_equal(predicted, labels[2])


def test_memory_need_not_fit_beside_the_queries():
    memory = Memory(
        jax.ShapeDtypeStruct((20_000, 8), jnp.float32),
        jax.ShapeDtypeStruct((20_000, 5), jnp.float32),
    )
    queries = jax.ShapeDtypeStruct((2000, 8), jnp.float32)
    compiled = nearest_labels.lower(
        memory, queries, neighbours=30, temperature=0.02, block=200
    ).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2000 * 20_000 * 4 / 10


def test_bad_input():
    with pytest.raises(JaxpartError, match="no patch has a labelled pixel"):
        make_memory(np.ones((2, 3)), np.zeros((2, 2)))
