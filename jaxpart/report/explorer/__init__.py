"""The explorer: one HTML file, without a server or a request to anywhere, to look at neighbours in."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
from collections.abc import Callable, Sequence
from typing import Any

import jinja2
import markupsafe
import numpy as np

from jaxpart.report.explorer.sprites import sheets
from jaxpart.report.patch_sets import Pair, PatchSet

_SCRIPTS = ("data", "state", "elements", "picture", "panes", "browse", "keys", "main")
"""Modules in the order in which they are joined."""

_BYTES = 18_000_000
"""Of all pictures, so that a page stays below 25 MB with them in base64."""


def explorer(
    sets: Sequence[PatchSet], title: str, advance: Callable[[int], None] = lambda count: None
) -> str:
    """The page.

    Nothing in it is trusted: names come as JSON and become text nodes, and the content security policy
    allows no script and no style but the ones of this page, and no connection.

    Args:
      sets: What can be looked at; may be empty.
      title: Of the page.
      advance: Is told how many more pictures are in it, or less where it takes them smaller.
    """
    script = "\n".join(_text(f"{name}.js") for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}\n}})();\n'
    style = _text("style.css")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src blob: data:; base-uri 'none'; form-action 'none'"
    )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_text("page.html")).render(
        title=title,
        policy=policy,
        script=markupsafe.Markup(script),
        style=markupsafe.Markup(style),
        data=markupsafe.Markup(
            _json({"sets": [_set(one, _BYTES // len(sets), advance) for one in sets]})
        ),
    )


def _text(name: str) -> str:
    return (importlib.resources.files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(data: Any) -> str:
    """As JSON that may stand in a script element: nothing in it can end the element."""
    return json.dumps(data, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")


def _set(one: PatchSet, limit: int, advance: Callable[[int], None]) -> dict[str, Any]:
    pictures, small = sheets(one.pictures, one.thumbnails, limit, advance)
    return {
        "name": one.name,
        "kind": one.kind,
        "available": one.available,
        "images": list(one.images),
        "parts": list(one.parts),
        "image": _numbers(one.image, "<i4"),
        "part": _numbers(one.part, "<i4"),
        "box": _numbers(one.box, "<f4"),
        "pictures": pictures,
        "thumbnails": small,
        "pairs": [_pair(pair) for pair in one.pairs],
        "first": one.first,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    ap = None
    if pair.ap is not None:
        ap = _numbers(np.where(np.isnan(pair.ap), 65535, np.rint(10000 * pair.ap)), "<u2")
    return {
        "name": pair.name,
        "caveat": pair.caveat,
        "count": pair.neighbours.shape[1],
        "neighbours": _numbers(pair.neighbours, "<i4"),
        "similarities": _numbers(np.rint(10000 * pair.similarities), "<i2"),
        "ap": ap,
        "meanAp": pair.mean_ap,
    }


def _numbers(values: np.ndarray, dtype: str) -> str:
    """Numbers as base64 of their bytes."""
    return base64.b64encode(np.ascontiguousarray(values).astype(dtype).tobytes()).decode()
