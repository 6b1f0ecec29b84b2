"""Sprite sheets: many small pictures in a few large ones, which load faster."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from jaxpart.data.images import Pixels

_SHEET = 2048
"""Side of a sheet in pixels."""

_ATTEMPTS = ((224, 82), (224, 65), (176, 65), (144, 60), (112, 50), (80, 35))
"""Longer side of a picture, and WebP quality: the first that is small enough is used."""


def sheets(
    pictures: Sequence[Image.Image],
    thumbnails: Sequence[Pixels] | None,
    limit: int,
    advance: Callable[[int], None],
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Pictures and thumbnails as sheets, see `_pack`.

    Together they have at most `limit` bytes in base64, or the smallest size available.
    """
    done = 0
    for side, quality in _ATTEMPTS:
        advance(-done)
        packed = _pack(pictures, side, quality, advance)
        packed_small = None if thumbnails is None else _pack(thumbnails, side, quality, advance)
        done = len(pictures) + len(thumbnails or ())
        used = sum(
            len(sheet) for pack in (packed, packed_small) if pack for sheet in pack["sheets"]
        )
        if used <= limit:
            break
    return packed, packed_small


def _pack(
    pictures: Sequence[Image.Image] | Sequence[Pixels],
    side: int,
    quality: int,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Packs pictures into sheets of equal cells, row by row.

    Returns:
      "cell", its side in pixels; "columns" and "rows" of a sheet; "sizes", [width, height] of each
      picture, at the upper left of its cell; "sheets", WebP in base64.
    """
    sizes = [_fitted(picture, side) for picture in pictures]
    cell = max(map(max, sizes), default=1)
    columns = max(1, min(_SHEET // cell, len(sizes)))
    rows = max(1, min(_SHEET // cell, -(-len(sizes) // columns)))
    encoded = []
    for start in range(0, len(sizes), columns * rows):
        sheet = Image.new("RGB", (columns * cell, rows * cell))
        for slot, size in enumerate(sizes[start : start + columns * rows]):
            original = pictures[start + slot]
            picture = Image.fromarray(original) if isinstance(original, np.ndarray) else original
            shown = picture if size == picture.size else picture.resize(size)
            sheet.paste(shown, (slot % columns * cell, slot // columns * cell))
            advance(1)
        file = io.BytesIO()
        sheet.save(file, "webp", quality=quality, method=2)
        encoded.append(base64.b64encode(file.getvalue()).decode())
    return {
        "cell": cell,
        "columns": columns,
        "rows": rows,
        "sizes": sizes,
        "sheets": encoded,
    }


def _fitted(picture: Image.Image | Pixels, side: int) -> tuple[int, int]:
    """(width, height) of a picture whose longer side is at most `side`."""
    size = picture.shape[1::-1] if isinstance(picture, np.ndarray) else picture.size
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
