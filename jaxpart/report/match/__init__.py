"""Two images matched: one HTML file; a click on a patch of one shows what resembles it in the other."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int8
from PIL import Image

from jaxpart.data.images import Pixels
from jaxpart.report.seen import Seen
from jaxpart.report.static import numbers, static_page

_SCRIPTS = ("explorer/bytes.js", "explorer/elements.js", "match/match.js")

_BYTES = 12_000_000
"""Of the tokens of all encoders, so that a page stays below some 20 MB with them in base64."""
_FEWEST = 2
"""Images of an encoder that are shown whatever they take."""
_QUALITY = 82


def match(seen: Sequence[Seen], title: str = "Match two images") -> str:
    """The page.

    Similarities are the browser's, from tokens whose directions are rounded to bytes: see `in_bytes`.
    Encoders with large tokens are shown with fewer images.

    Args:
      seen: Images as encoders saw them, an entry for each encoder.
      title: Of the page.
    """
    models = [_model(one, _BYTES // len(seen)) for one in seen]
    return static_page(__package__, _SCRIPTS, title, {"models": models})


def in_bytes(
    tokens: Float[np.ndarray, "*token width"],
) -> Int8[np.ndarray, "*token width"]:
    """Tokens of which only the direction is kept, each scaled to its largest value.

    The cosine similarity of two such tokens is within 0.01 of their own, as a test says.
    """
    largest = np.abs(tokens).max(axis=-1, keepdims=True)
    return np.rint(127 * tokens / np.maximum(largest, 1e-30)).astype(np.int8)


def _model(one: Seen, limit: int) -> dict[str, Any]:
    _, rows, columns, width = one.tokens.shape
    count = min(len(one.images), max(_FEWEST, limit // (rows * columns * width)))
    return {
        "name": one.label,
        "caveat": one.caveat,
        "rows": rows,
        "columns": columns,
        "width": width,
        "images": [
            {"name": name, "pixels": _webp(pixels)}
            for name, pixels in zip(one.names[:count], one.images[:count], strict=True)
        ],
        "tokens": numbers(in_bytes(one.tokens[:count]), "i1"),
    }


def _webp(pixels: Pixels) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "webp", quality=_QUALITY)
    return base64.b64encode(file.getvalue()).decode()
