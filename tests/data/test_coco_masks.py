"""Polygons and runs of COCO's format, against pycocotools and against what they must be."""

import contextlib
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpart.data.coco_file import CocoFile
from jaxpart.data.coco_masks import draw, read_masks
from jaxpart.errors import JaxpartError


def read(value):
    """The mask of a file that has only this one."""
    document = CocoFile.__new__(CocoFile)
    document.path = pathlib.Path("a.json")
    document.column = lambda section, field: [value]
    return read_masks(document)[0]


def drawn(value, size):
    return draw(read(value), size)


def test_a_square_covers_its_pixels():
    expected = np.zeros((8, 12), bool)
    expected[1:5, 2:7] = True
    np.testing.assert_array_equal(drawn([[2, 1, 7, 1, 7, 5, 2, 5]], (8, 12)), expected)
    np.testing.assert_array_equal(drawn([[2, 5, 7, 5, 7, 1, 2, 1]], (8, 12)), expected)


def test_polygons_are_united_and_cut_off_at_the_border():
    expected = np.zeros((4, 4), bool)
    expected[:2, :2] = expected[2:, 2:] = True
    squares = [[-3, -3, 2, -3, 2, 2, -3, 2], [2, 2, 8, 2, 8, 8, 2, 8], [0, 0, 1, 0, 1, 1, 0, 1]]
    np.testing.assert_array_equal(drawn(squares, (4, 4)), expected)


@pytest.mark.parametrize("value", [[], [[]], [[1, 2]], [[0, 0, 3, 3]], [[1, 1, 2, 2, 1, 1]]])
def test_fewer_than_three_corners_cover_nothing(value):
    assert not drawn(value, (4, 4)).any()


def test_a_short_polygon_takes_nothing_from_a_proper_one():
    square = [0, 0, 2, 0, 2, 2, 0, 2]
    assert drawn([[1, 1, 3, 3], square, [5] * 2], (4, 4)).sum() == 4


def test_runs_go_down_the_columns():
    expected = np.array([[False, True], [True, False], [True, False]])
    np.testing.assert_array_equal(drawn({"size": [3, 2], "counts": [1, 3, 2]}, (3, 2)), expected)
    np.testing.assert_array_equal(drawn({"size": [3, 2], "counts": "132"}, (3, 2)), expected)


corner = st.floats(-8, 24) | st.integers(-8, 24)
polygon = st.lists(st.tuples(corner, corner), min_size=3, max_size=10).map(
    lambda corners: [number for corner in corners for number in corner]
)


@given(st.lists(polygon, min_size=1, max_size=3))
def test_polygons_are_those_of_pycocotools(polygons):
    mask = pytest.importorskip("pycocotools.mask")
    expected = mask.decode(mask.merge(mask.frPyObjects(polygons, 13, 16)))
    np.testing.assert_array_equal(drawn(polygons, (13, 16)), expected == 1)


@given(st.lists(st.booleans(), min_size=70, max_size=70))
def test_runs_are_those_of_pycocotools(pixels):
    coder = pytest.importorskip("pycocotools.mask")
    expected = np.asfortranarray(np.array(pixels, np.uint8).reshape(7, 10))
    runs = coder.encode(expected)
    value = {"size": [7, 10], "counts": runs["counts"].decode()}
    np.testing.assert_array_equal(drawn(value, (7, 10)), expected == 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "is None, neither polygons nor run lengths"),
        ("x" * 10**5, "is 'x+…x+', neither"),
        (["x"], "holds 'x', which is not a polygon"),
        ([[1, 2, 3, 4, 5, "6"]], "holds '6', which is not a number"),
        ([[1, 2, 3, 4, 5, True]], "holds True, which is not a number"),
        ([[1, 2, 3, 4, 5]], "holds a polygon of 5 numbers, which are not pairs"),
        ([[1, 2, 3, 4, 5, 10**400]], "holds a number that is not a pixel coordinate"),
        ([[1, 2, 3, 4, 5, float("nan")]], "holds a number that is not a pixel coordinate"),
        ({}, "has the size None, which is not a height and width"),
        ({"size": [4, 0], "counts": "1"}, r"has the size \[4, 0\]"),
        ({"size": [4, 2**40], "counts": "1"}, r"has the size \[4, 1099511627776\]"),
        ({"size": [4, 4]}, "has the counts None, which are not run lengths"),
        ({"size": [4, 4], "counts": "é"}, "has the counts 'é'"),
        ({"size": [4, 4], "counts": [4, -1]}, "has counts that are not run lengths"),
        ({"size": [4, 4], "counts": [10**30]}, "has counts that are not run lengths"),
        ({"size": [4, 4], "counts": [4.0]}, r"has the counts \[4\.0\]"),
    ],
)
def test_what_is_no_mask_is_told(value, message):
    with pytest.raises(JaxpartError, match=r"^a\.json: annotations\[0\]\.segmentation " + message):
        read(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[0, 0, 1e9, 1, 5, 5]], "extends farther beyond its image"),
        ([[0, 0, 1e300, 1, 5, 5]], "extends farther beyond its image"),
        ([[0, 0, 8, 7] * 60_000], "has a polygon with an outline of more than"),
        ({"size": [4, 9], "counts": [36]}, r"has the size \(4, 9\) .* its image \(8, 12\)"),
        ({"size": [8, 12], "counts": [90]}, "has runs that do not add up to 8 × 12 pixels"),
        ({"size": [8, 12], "counts": []}, "has runs that do not add up"),
        ({"size": [8, 12], "counts": [2**28] * 9}, "has runs that do not add up"),
        ({"size": [8, 12], "counts": ""}, "has damaged runs"),
        ({"size": [8, 12], "counts": "PPP"}, "has damaged runs"),  # cut off
        ({"size": [8, 12], "counts": "oooooooooo0"}, "has damaged runs"),
        ({"size": [8, 12], "counts": "1 2"}, "has damaged runs"),
        ({"size": [8, 12], "counts": "O1"}, "has runs that do not add up"),  # a negative length
    ],
)
def test_a_mask_that_does_not_belong_to_its_image_is_told(value, message):
    mask = read(value)
    with pytest.raises(ValueError, match=message):
        draw(mask, (8, 12))


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12))
def test_no_code_is_more_than_a_sentence(text):
    with contextlib.suppress(ValueError):
        assert drawn({"size": [8, 12], "counts": text}, (8, 12)).shape == (8, 12)
