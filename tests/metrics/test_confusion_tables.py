"""Per-class tables and confusion between parts, on matrices small enough to read."""

from __future__ import annotations

import numpy as np

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
    assert error_shares(matrix, objects) == (3 / 24, 8 / 24)
    assert np.isnan(error_shares(np.zeros((4, 4), int), objects)).all()
