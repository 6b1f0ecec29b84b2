"""Windows and their merging against mmseg's way, written out, and the golden arrays."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.upsampling import upsample
from jaxpart.errors import JaxpartError
from jaxpart.tasks.segmentation.windows import (
    axis_weights,
    full_logits,
    side_by_side,
    spans,
    windows,
)


def test_golden_windows(golden):
    arrays = np.load(golden / "protocol/segmentation.npz")
    np.testing.assert_array_equal(windows((100, 150), 64, 43), arrays["slide_windows"])


@settings(max_examples=200)
@given(size=st.integers(1, 400), crop=st.integers(1, 130), stride=st.integers(1, 130))
def test_windows_cover_the_axis(size, crop, stride):
    stride = min(stride, crop)
    cover = spans(size, crop, stride)
    assert cover[0][0] == 0
    assert cover[-1][1] == size
    assert all(stop - start == min(crop, size) for start, stop in cover)
    steps = [after[0] - before[0] for before, after in itertools.pairwise(cover)]
    assert all(step == stride for step in steps[:-1])
    assert all(0 < step <= stride for step in steps)


def published(window_logits, size, target, crop, stride):
    """mmseg's `slide_inference`: full-size sums and counts, then the resize. Channels last."""
    total = np.zeros((*size, window_logits.shape[-1]))
    count = np.zeros((*size, 1))
    for one, (top, bottom, left, right) in zip(
        window_logits, windows(size, crop, stride), strict=True
    ):
        total[top:bottom, left:right] += upsample(one, (bottom - top, right - left))
        count[top:bottom, left:right] += 1
    return upsample((total / count).astype(np.float32), target)


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((64, 64), (64, 64)),
        ((100, 150), (120, 180)),
        ((64, 200), (33, 101)),
        ((230, 70), (461, 139)),
    ],
)
def test_merging_is_the_published_mean(size, target):
    crop, stride, grid, classes = 64, 43, (4, 8), 3
    down, across = (len(spans(side, crop, stride)) for side in size)
    logits = np.random.default_rng(0).normal(size=(down * across, *grid, classes))
    logits = logits.astype(np.float32)
    axes = zip(size, target, grid, strict=True)
    matrices = [axis_weights(side, to, crop, stride, cells) for side, to, cells in axes]
    source = side_by_side(logits.reshape(1, down, across, *grid, classes))
    ours = full_logits(source, *matrices)[0]
    np.testing.assert_allclose(ours, published(logits, size, target, crop, stride), atol=1e-5)


def test_a_clipped_window_has_the_patches_that_fit():
    """37 of 64 pixels hold two whole patches of 16: logits beyond them are not looked at."""
    weights = axis_weights(37, 37, 64, 43, 4)
    logits = np.asarray([[1.0], [2.0], [np.inf], [np.inf]], np.float32)
    assert not weights[:, 2:].any()
    expected = upsample(logits[:2, None], (37, 1))[:, 0]
    np.testing.assert_allclose(weights[:, :2] @ logits[:2], expected, atol=1e-6)


def test_an_image_smaller_than_a_patch():
    with pytest.raises(JaxpartError, match="15 pixels is smaller than one patch of 16"):
        axis_weights(15, 15, 64, 43, 4)
