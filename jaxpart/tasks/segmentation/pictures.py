"""Figures of segmentations: image, truth and prediction side by side, with a legend."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from jaxpart.data.palettes import Colours
from jaxpart.labels import IGNORE

_MIN_SIDE, _MAX_SIDE = 256, 512
_MARGIN, _LINE, _FONT = 8, 20, 14


def picture(
    image: Image.Image,
    truth: UInt8[np.ndarray, "height width"],
    prediction: UInt8[np.ndarray, "height width"],
    names: Sequence[str],
    colours: Colours,
) -> bytes:
    """A PNG with an image, its label map, the prediction, and a legend of the visible classes.

    Ignored pixels are black in the truth and dimmed in the prediction.
    """
    palette = np.zeros((IGNORE + 1, 3), np.uint8)
    palette[: len(names)] = colours
    counted = truth != IGNORE
    predicted = palette[prediction]
    predicted = np.where(counted[..., None], predicted, predicted // 4)
    panels = [
        ("image", image, Image.Resampling.BICUBIC),
        ("truth", Image.fromarray(palette[truth]), Image.Resampling.NEAREST),
        ("prediction", Image.fromarray(predicted), Image.Resampling.NEAREST),
    ]
    longest = max(image.size)
    factor = min(max(longest, _MIN_SIDE), _MAX_SIDE) / longest
    width, height = (max(round(side * factor), 1) for side in image.size)
    visible = np.union1d(truth[counted], prediction[counted]).tolist()
    font = ImageFont.load_default(_FONT)
    legend, rows = _legend([names[label] for label in visible], 3 * (width + _MARGIN), font)

    canvas_size = (3 * width + 4 * _MARGIN, height + _LINE * (rows + 1) + 3 * _MARGIN)
    canvas = Image.new("RGB", canvas_size, "white")
    draw = ImageDraw.Draw(canvas)
    for column, (title, panel, kernel) in enumerate(panels):
        left = _MARGIN + column * (width + _MARGIN)
        draw.text((left, _MARGIN // 2), title, "black", font)
        canvas.paste(panel.resize((width, height), kernel), (left, _MARGIN + _LINE))
    top = height + _LINE + 2 * _MARGIN
    for label, (x, row) in zip(visible, legend, strict=True):
        corner = _MARGIN + x, top + row * _LINE
        swatch = (*corner, corner[0] + _FONT, corner[1] + _FONT)
        draw.rectangle(swatch, tuple(palette[label].tolist()), "black")
        draw.text((corner[0] + _FONT + 4, corner[1] - 1), names[label], "black", font)
    file = io.BytesIO()
    canvas.save(file, "png")
    return file.getvalue()


def _legend(
    names: Sequence[str], width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> tuple[list[tuple[int, int]], int]:
    """(x, row) of each entry, and the number of rows."""
    positions, x, row = [], 0, 0
    for name in names:
        needed = round(font.getlength(name)) + _FONT + 4 + 2 * _MARGIN
        if x and x + needed > width:
            x, row = 0, row + 1
        positions.append((x, row))
        x += needed
    return positions, row + 1
