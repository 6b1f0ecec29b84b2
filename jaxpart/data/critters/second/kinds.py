"""Which shape of each part the 24 kinds of version 2 have: a code in which no part tells the kind.

Every part has four shapes, each of six kinds. Two kinds share at most three of their seven parts, so
a kind is known by any four of its parts and never by one.
"""

from __future__ import annotations

from jaxpart.data.critters.species import MASK_PARTS

SHAPES = 4
"""Shapes of each part, numbered from 0."""

_CODE = (
    "0011233", "0102032", "0221302", "0230131", "0301021", "0332103", "1013010", "1020132",
    "1100211", "1122100", "1210003", "1330320", "2003331", "2123012", "2211111", "2233200",
    "2302310", "2331232", "3010321", "3023203", "3103120", "3112313", "3231023", "3322222",
)  # fmt: skip


def shapes_of(kind: int) -> dict[str, int]:
    """The shape of each part of a kind by the part's name."""
    return dict(zip(MASK_PARTS, map(int, _CODE[kind]), strict=True))
