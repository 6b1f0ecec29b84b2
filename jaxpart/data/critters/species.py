"""The 24 kinds of critters of version 1, as combinations of shared part variants.

Each part has eight variants (a shape from 0 to 3 with a colour), and three kinds share each variant. So
no single part identifies the kind, and a part looks different on other kinds.
"""

from __future__ import annotations

import dataclasses

PARTS = ("head", "beak", "eye", "wing", "leg", "tail")
"""Parts with a keypoint, in the order of their ids, from 1."""

MASK_PARTS = (*PARTS, "body")
"""Parts of the part mask, in the order of their labels, from 1."""

NAMES = (
    "amberling", "bogwink", "cindertuft", "dapplewing", "emberfin", "fernhop",
    "glimmertail", "hazelbeak", "inkspot", "jadecrest", "kelpstrider", "lumenfeather",
    "mosswaddle", "nightlark", "ochreleg", "plumedart", "quillback", "russetpip",
    "sagewing", "thistlebill", "umberstalk", "velvetcap", "willowplume", "zephyrling",
)  # fmt: skip
"""Name of each kind, by class label."""

_VARIANTS = 8
_SHAPES = 4

# Odd steps reach all eight variants; the shifts make kinds that share one part differ in others.
_STEP = {"head": 1, "beak": 3, "eye": 5, "wing": 7, "leg": 3, "tail": 5, "body": 1}
_SHIFT = {"head": 0, "beak": 1, "eye": 3, "wing": 2, "leg": 5, "tail": 6, "body": 4}

_WARM = ((226, 122, 63), (206, 70, 70), (240, 178, 71), (158, 94, 62))
_COOL = ((66, 124, 178), (60, 158, 142), (118, 98, 176), (92, 138, 70))
_BRIGHT = ((250, 205, 90), (238, 132, 92), (120, 200, 190), (232, 226, 210))
_DARK = ((38, 34, 44), (86, 44, 36), (30, 60, 84), (52, 78, 40))
_PALETTES = {
    "head": _WARM + _COOL,
    "beak": _BRIGHT[:2] + _DARK[:2] + _WARM[2:] + _BRIGHT[2:],
    "eye": _DARK + _BRIGHT,
    "wing": _COOL + _WARM,
    "leg": _WARM[:2] + _BRIGHT[:2] + _DARK[1:3] + _COOL[2:],
    "tail": _COOL[2:] + _BRIGHT[:2] + _WARM[1:3] + _COOL[:2],
    "body": _WARM[2:] + _COOL[:2] + _BRIGHT[1:3] + _WARM[:2],
}

Colour = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Variant:
    """An outline (0 to 3) and an RGB colour of a part. A body's shape is its texture."""

    shape: int
    colour: Colour


def variant_index(kind: int, part: str) -> int:
    """The index (0 to 7) of a kind's variant of a part."""
    return (_STEP[part] * kind + _SHIFT[part] * (kind // _VARIANTS)) % _VARIANTS


def variant(kind: int, part: str) -> Variant:
    """A kind's variant of a part."""
    index = variant_index(kind, part)
    return Variant(index % _SHAPES, _PALETTES[part][index])
