"""Label maps of records: every mode of png, and what is wrong with them."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxpart.data.masks import ignore_background, read_mask
from jaxpart.data.source import Annotation, Record
from jaxpart.errors import JaxpartError

LABELS = np.array([[0, 1, 2], [3, 255, 1]], np.uint8)


def record(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return Record(Annotation("val/7.jpg"), b"", {"part": file.getvalue()})


def palette():
    image = Image.fromarray(LABELS).copy()
    image.putpalette(bytes(range(255, -1, -1)) * 3)
    return image


@pytest.mark.parametrize(
    "image", [Image.fromarray(LABELS), palette(), Image.fromarray(LABELS.astype(np.uint16))]
)
def test_numbers_are_read_whatever_the_mode(image):
    mask = read_mask(record(image), "part", 4, (2, 3))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, LABELS)


def test_a_black_and_white_mask_has_the_labels_0_and_1():
    mask = read_mask(record(Image.fromarray(LABELS == 1)), "part", 2)
    np.testing.assert_array_equal(mask, LABELS == 1)
    assert mask.dtype == np.uint8


def test_ignoring_the_background_moves_every_class():
    np.testing.assert_array_equal(ignore_background(LABELS), [[255, 0, 1], [2, 255, 0]])
    assert ignore_background(np.array([[254]], np.uint8)) == 253


@pytest.mark.parametrize(
    ("image", "kind", "labels", "size", "message"),
    [
        (Image.fromarray(LABELS), "object", 4, None, r"\(object mask\) is missing"),
        (Image.fromarray(LABELS), "part", 3, None, "holds 3, but 3 classes allow 0 to 2"),
        (Image.fromarray(LABELS.astype(np.uint16) * 300), "part", 4, None, "holds 300, 600"),
        (Image.fromarray(LABELS), "part", 4, (3, 2), "3 × 2 pixels but its image is 2 × 3"),
        (Image.new("RGB", (2, 3), "red"), "part", 4, None, "is a colour image"),
        (Image.fromarray(LABELS), "part", 256, None, "256 labels"),
    ],
)
def test_what_is_wrong_is_named(image, kind, labels, size, message):
    with pytest.raises(JaxpartError, match=r"^val/7\.jpg .*" + message):
        read_mask(record(image), kind, labels, size)


def test_a_damaged_mask_is_named():
    good = record(Image.fromarray(LABELS))
    damaged = Record(good.annotation, b"", {"part": good.masks["part"][:50]})
    with pytest.raises(JaxpartError, match=r"^val/7\.jpg \(part mask\) is"):
        read_mask(damaged, "part", 4)
