"""The shapes of the 24 kinds of version 2: a code in which no single part identifies the kind.

Every part has three shapes, each shared by eight kinds. Two kinds have at most three of seven shapes in
common, so any four parts identify a kind, and so do the head, wing and body, the largest. The code words
are those of a linear ternary code of length 7 and distance 4, without three that differ in every part.
"""

from __future__ import annotations

from jaxpart.data.critters.species import MASK_PARTS

_CODE = (
    "1001221", "2002112", "0011011", "1012202", "2010120", "0022022", "1020210", "2021101",
    "0102201", "1100122", "2101010", "0110212", "1111100", "2112021", "0121220", "2120002",
    "0201102", "1202020", "2200211", "0212110", "1210001", "0220121", "1221012", "2222200",
)  # fmt: skip


def shapes_of(kind: int) -> dict[str, int]:
    """The shape (0 to 2) of each part of a kind, by part name."""
    return dict(zip(MASK_PARTS, map(int, _CODE[kind]), strict=True))
