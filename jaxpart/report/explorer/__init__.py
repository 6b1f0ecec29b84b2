"""The explorer: one HTML file, without a server or network access, to browse nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxpart.report.explorer.sprites import sheets
from jaxpart.report.patch_sets import Pair, PatchSet
from jaxpart.report.static import numbers, static_page

_SCRIPTS = ("bytes", "data", "state", "elements", "picture", "panes", "browse", "keys", "main")
"""Scripts in the order to join them."""

_BYTES = 18_000_000
"""Size of all pictures: in base64 they keep a page below 25 MB."""


def explorer(sets: Sequence[PatchSet], advance: Callable[[int], None] = lambda count: None) -> str:
    """The explorer's page. Names are not trusted: they become text nodes, see `static_page`.

    Args:
      sets: The patch sets to browse; may be empty.
      advance: Called with the number of pictures just packed; negative when it starts over with smaller
        pictures.
    """
    data = {"sets": [_set(patches, _BYTES // len(sets), advance) for patches in sets]}
    scripts = [f"explorer/{name}.js" for name in _SCRIPTS]
    return static_page(__package__, scripts, "Nearest patches", data)


def _set(patches: PatchSet, limit: int, advance: Callable[[int], None]) -> dict[str, Any]:
    pictures, small = sheets(patches.pictures, patches.thumbnails, limit, advance)
    return {
        "name": patches.name,
        "kind": patches.kind,
        "available": patches.available,
        "images": list(patches.images),
        "parts": list(patches.parts),
        "image": numbers(patches.image, "<i4"),
        "part": numbers(patches.part, "<i4"),
        "box": numbers(patches.box, "<f4"),
        "pictures": pictures,
        "thumbnails": small,
        "pairs": [_pair(pair) for pair in patches.pairs],
        "first": patches.first,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    ap = None
    if pair.ap is not None:
        ap = numbers(np.where(np.isnan(pair.ap), 65535, np.rint(10000 * pair.ap)), "<u2")
    return {
        "name": pair.name,
        "caveat": pair.caveat,
        "count": pair.neighbours.shape[1],
        "neighbours": numbers(pair.neighbours, "<i4"),
        "similarities": numbers(np.rint(10000 * pair.similarities), "<i2"),
        "ap": ap,
        "meanAp": pair.mean_ap,
    }
