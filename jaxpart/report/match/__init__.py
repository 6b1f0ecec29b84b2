"""Matching two images in one HTML file: a click on a patch shows the similar patches of the other image."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int8
from PIL import Image

from jaxpart.data.images import Pixels
from jaxpart.report.encoded_images import EncodedImages
from jaxpart.report.static import numbers, static_page

_SCRIPTS = ("explorer/bytes.js", "explorer/elements.js", "match/match.js")

_BYTES = 12_000_000
"""Size of all encoders' tokens: in base64 they keep a page below about 20 MB."""
_FEWEST = 2
"""Minimum number of images per encoder, regardless of their size."""
_QUALITY = 82


def match(encoded: Sequence[EncodedImages]) -> str:
    """The page for matching images.

    The browser computes similarities, from tokens rounded to bytes, see `in_bytes`. Encoders with large
    tokens are shown with fewer images.

    Args:
      encoded: Whole images, an entry for each encoder.
    """
    models = [_model(images, _BYTES // len(encoded)) for images in encoded]
    return static_page(__package__, _SCRIPTS, "Match two images", {"models": models})


def in_bytes(
    tokens: Float[np.ndarray, "*token width"],
) -> Int8[np.ndarray, "*token width"]:
    """Tokens as bytes, each scaled by its largest value, so that only its direction is kept.

    Cosine similarities change by less than 0.01, which a test checks.
    """
    largest = np.abs(tokens).max(axis=-1, keepdims=True)
    return np.rint(127 * tokens / np.maximum(largest, 1e-30)).astype(np.int8)


def _model(encoded: EncodedImages, limit: int) -> dict[str, Any]:
    _, rows, columns, width = encoded.tokens.shape
    count = min(len(encoded.images), max(_FEWEST, limit // (rows * columns * width)))
    return {
        "name": encoded.label,
        "caveat": encoded.caveat,
        "rows": rows,
        "columns": columns,
        "width": width,
        "images": [
            {"name": name, "pixels": _webp(pixels)}
            for name, pixels in zip(encoded.names[:count], encoded.images[:count], strict=True)
        ],
        "tokens": numbers(in_bytes(encoded.tokens[:count]), "i1"),
    }


def _webp(pixels: Pixels) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "webp", quality=_QUALITY)
    return base64.b64encode(file.getvalue()).decode()
