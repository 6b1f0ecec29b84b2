"""The explorer: one HTML file, without a server or a request to anywhere, to look at neighbours in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxpart.report.explorer.sprites import sheets
from jaxpart.report.patch_sets import Pair, PatchSet
from jaxpart.report.static import numbers, static_page

_SCRIPTS = ("bytes", "data", "state", "elements", "picture", "panes", "browse", "keys", "main")
"""Modules in the order in which they are joined."""

_BYTES = 18_000_000
"""Of all pictures, so that a page stays below 25 MB with them in base64."""


def explorer(
    sets: Sequence[PatchSet], title: str, advance: Callable[[int], None] = lambda count: None
) -> str:
    """The page.

    Nothing in it is trusted: names become text nodes, see `static_page`.

    Args:
      sets: What can be looked at; may be empty.
      title: Of the page.
      advance: Is told how many more pictures are in it, or less where it takes them smaller.
    """
    data = {"sets": [_set(one, _BYTES // len(sets), advance) for one in sets]}
    return static_page(__package__, [f"explorer/{name}.js" for name in _SCRIPTS], title, data)


def _set(one: PatchSet, limit: int, advance: Callable[[int], None]) -> dict[str, Any]:
    pictures, small = sheets(one.pictures, one.thumbnails, limit, advance)
    return {
        "name": one.name,
        "kind": one.kind,
        "available": one.available,
        "images": list(one.images),
        "parts": list(one.parts),
        "image": numbers(one.image, "<i4"),
        "part": numbers(one.part, "<i4"),
        "box": numbers(one.box, "<f4"),
        "pictures": pictures,
        "thumbnails": small,
        "pairs": [_pair(pair) for pair in one.pairs],
        "first": one.first,
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
