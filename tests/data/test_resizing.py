"""Resizing of segmentation: OpenCV's arithmetic written out, and Pillow's own."""

import numpy as np
import pytest
from PIL import Image

from jaxpart.data.resizing import resize_image, resize_labels

SIZES = [
    ((30, 44), (61, 33)),
    ((44, 30), (17, 95)),
    ((7, 9), (7, 9)),
    ((1, 5), (40, 3)),
    ((20, 12), (5, 4)),
    ((20, 12), (10, 6)),
]


def noise(height, width, *channels):
    return np.random.default_rng(0).integers(0, 256, (height, width, *channels), np.uint8)


def taps(source, target, *, border):
    """Both neighbours of every target pixel's centre and their weights in 2⁻¹¹, by OpenCV's `resize.cpp`.

    With `border`, as across, what lies beyond the border has no weight; down, the border row has both.
    """
    scale = 1 / (target / source)
    place = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(place).astype(int)
    share = place - first.astype(np.float32)
    if border:
        share = np.where((first < 0) | (first >= source - 1), np.float32(0), share)
        first = np.clip(first, 0, source - 1)
    first, second = (np.clip(first + step, 0, source - 1) for step in (0, 1))
    weights = [np.rint(part * np.float32(2048)).astype(int) for part in (1 - share, share)]
    return (first, second), weights


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_images_are_opencvs_fixed_point(source, target):
    """Across in 11 bits, down in 11 more with OpenCV's two cuts; nothing is averaged where it shrinks."""
    pixels = noise(*source, 3).astype(int)
    (left, right), across = taps(source[1], target[1], border=True)
    rows = pixels[:, left] * across[0][:, None] + pixels[:, right] * across[1][:, None]
    (above, below), down = taps(source[0], target[0], border=False)
    parts = [
        (weight[:, None, None] * (rows[index] >> 4)) >> 16
        for weight, index in zip(down, (above, below), strict=True)
    ]
    expected = (parts[0] + parts[1] + 2) >> 2
    found = resize_image(pixels.astype(np.uint8), target[::-1], "opencv")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_labels_are_taken_from_the_floor(source, target):
    labels = noise(*source)
    rows, columns = (np.arange(t) * s // t for s, t in zip(source, target, strict=True))
    found = resize_labels(labels, target[::-1], "opencv")
    np.testing.assert_array_equal(found, labels[np.ix_(rows, columns)])


def test_pillows_is_pillows():
    pixels = noise(30, 44, 3)
    expected = Image.fromarray(pixels).resize((17, 12), Image.Resampling.BILINEAR)
    labels = Image.fromarray(pixels[..., 0]).resize((17, 12), Image.Resampling.NEAREST)
    found = resize_image(pixels, (17, 12), "pillow")
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(resize_labels(pixels[..., 0], (17, 12), "pillow"), labels)
    assert np.abs(found - resize_image(pixels, (17, 12), "opencv").astype(int)).max() > 20
