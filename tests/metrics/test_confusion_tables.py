"""Per-class tables and confusion between parts, on matrices small enough to read."""

from __future__ import annotations

import numpy as np
import pytest

from jaxpart.errors import JaxpartError
from jaxpart.metrics.confusion_tables import (
    ClassScore,
    class_scores,
    error_shares,
    part_confusions,
)


def test_class_table():
    matrix = np.asarray([[8, 2, 0], [1, 1, 0], [0, 0, 0]])
    rows = class_scores(matrix, ["head", "leg", "horn"])
    assert [row.name for row in rows] == ["head", "leg", "horn"]
    assert rows[0] == ClassScore("head", 8 / 11, 0.8, 10)
    assert np.isnan(rows[2].iou)
    assert rows[2].pixels == 0


def test_confusion_between_parts_of_the_same_object():
    names = ["cat head", "cat leg", "cat tail", "dog head"]
    objects = ["cat", "cat", "cat", "dog"]
    matrix = np.asarray([[6, 1, 0, 3], [2, 2, 0, 0], [0, 0, 0, 0], [5, 0, 0, 5]])
    rows = part_confusions(matrix, names, objects)
    assert [(row.part, row.predicted, row.share, row.pixels) for row in rows] == [
        ("cat leg", "cat head", 0.5, 2),
        ("cat head", "cat leg", 0.1, 1),
    ]
    assert rows[0].object == "cat"
    shares = error_shares(matrix, objects)
    assert (shares.right, shares.same_object, shares.other_object) == (13 / 24, 3 / 24, 8 / 24)
    assert np.isnan(error_shares(np.zeros((4, 4), int), objects).right)


def test_class_list_and_matrix_of_different_length():
    matrix = np.eye(3, dtype=int)
    with pytest.raises(JaxpartError, match=r"2 names.*3 classes"):
        class_scores(matrix, ["a", "b"])
    with pytest.raises(JaxpartError, match=r"4 names.*3 classes"):
        error_shares(matrix, ["a"] * 4)
    with pytest.raises(JaxpartError, match="3 classes"):
        part_confusions(matrix, ["a"] * 3, ["a"])
