"""The shapes of the 24 kinds of version 2: a code in which no single part identifies the kind.

Every part has three shapes, each shared by eight kinds. Two kinds have at most three of seven shapes in
common, so any four parts identify a kind. The code words are those of a linear ternary code of length 7
and distance 4, without three that differ in every part.
"""

from __future__ import annotations

from jaxpart.data.critters.species import MASK_PARTS

_CODE = (
    "0011221", "0022112", "0101011", "0112202", "0120120", "0202022", "0210210", "0221101",
    "1002201", "1010122", "1021010", "1100212", "1111100", "1122021", "1201220", "1220002",
    "2001102", "2012020", "2020211", "2102110", "2110001", "2200121", "2211012", "2222200",
)  # fmt: skip


def shapes_of(kind: int) -> dict[str, int]:
    """The shape (0 to 2) of each part of a kind, by part name."""
    return dict(zip(MASK_PARTS, map(int, _CODE[kind]), strict=True))
