"""Baselines of part retrieval without a trained encoder: chance, and pixels.

On the same patches as the encoder. Pixels are means over 12 × 12 cells (`jaxpart.features.pixels`), in
colour (432 values) or grey (mean of red, green and blue); "mean_colour" is the mean of the patch. All are
centred by subtracting their mean over the patches. An encoder that is not better shows no part-awareness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from jaxpart.features.extract import Features
from jaxpart.features.pixels import SIDE
from jaxpart.runs.rows import Key, Row, select

BASELINES = {
    "chance": "chance",
    "mean_colour": "mean colour",
    "pixels12_colour": "12 × 12 pixels, colour",
    "pixels12_grey": "12 × 12 pixels, grey",
}
"""Names of the baselines in tables, by the `representation` of their rows."""

BASELINE = "baseline"
"""The head of rows of `BASELINES`."""

UNTRAINED = "untrained"
"""The head of rows of the same encoder with random weights."""

UNTRAINED_LABEL = "untrained encoder"

PIXEL_BASELINES = ("mean_colour", "pixels12_colour", "pixels12_grey")


def pixel_baselines(
    pixels: Features,
) -> Iterator[tuple[str, Float32[np.ndarray, "patch channel"]]]:
    """Yields name and vectors of each pixel baseline.

    Args:
      pixels: The patches' "pixels12".
    """
    cells = pixels.whole().reshape(-1, SIDE**2, 3)
    grey = cells.mean(axis=2)
    yield "mean_colour", _centred(cells.mean(axis=1))
    yield "pixels12_colour", _centred(cells.reshape(len(cells), -1))
    yield "pixels12_grey", _centred(grey)


def _centred(rows: Float32[np.ndarray, "patch channel"]) -> Float32[np.ndarray, "patch channel"]:
    rows -= rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return rows


def label(key: Key) -> str:
    """The name of a representation in tables: "embedding", "chance", "untrained encoder, embedding"."""
    if key.head == BASELINE:
        return BASELINES[key.representation]
    return ", ".join(filter(None, (key.head and UNTRAINED_LABEL, key.representation)))


def strongest(
    rows: Sequence[Row], data: str, task: str, group: str = ""
) -> tuple[str, float] | None:
    """The label and the AP of the best baseline; None if there are no baselines.

    Args:
      rows: Results.
      data: The data set.
      task: "retrieval" or "layers".
      group: See `Row`.
    """
    results = select(rows, data=data, task=task, metric="AP", head=BASELINE, group=group)
    if not results:
        return None
    best = max(results, key=lambda row: row.value)
    return label(best.key), best.value
