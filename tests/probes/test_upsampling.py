"""Bilinear resize against PyTorch's, at sizes with and without an integer factor."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.upsampling import upsample
from jaxpart.probes.upsampling import interpolation_weights


@pytest.mark.parametrize(
    ("source", "target"),
    [((4, 4), (64, 64)), ((1, 3), (7, 50)), ((30, 30), (480, 480)), ((50, 75), (33, 181))],
)
def test_upsample_is_pytorchs(source, target):
    torch = pytest.importorskip("torch")
    maps = np.random.default_rng(0).normal(size=(2, *source, 5)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(maps).permute(0, 3, 1, 2), target, mode="bilinear", align_corners=False
    )
    ours = upsample(jnp.asarray(maps), target)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1).numpy(), atol=2e-5)


@settings(deadline=None, max_examples=50)
@given(source=st.integers(1, 80), target=st.integers(1, 200))
def test_rows_are_means_of_two_neighbours(source, target):
    weights = interpolation_weights(source, target)
    assert weights.shape == (target, source)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    for row in weights:
        used = np.flatnonzero(row)
        assert used[-1] - used[0] <= 1


def test_the_same_length_is_left_alone():
    for length in (1, 16, 321, 683):
        np.testing.assert_array_equal(interpolation_weights(length, length), np.eye(length))


def test_golden_logits(golden):
    arrays = np.load(golden / "protocol/segmentation.npz")
    features = np.concatenate([arrays[f"feature{i}"] for i in range(4)], 1).transpose(0, 2, 3, 1)
    logits = features @ arrays["head_weight"].T + arrays["head_bias"]
    expected = arrays["logits_upsampled"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(upsample(logits, expected.shape[1:3]), expected, atol=1e-5)
