"""What part patches retrieve without a trained encoder: by chance, and by their pixels.

Of the very patches that the encoder saw. Pixels are their means in 12 × 12 cells
(`jaxpart.features.pixels`), in colour (432 values) or grey (the mean of red, green and blue), less
their mean over the patches; "mean_colour" is that of the whole patch, less its mean over the patches
too. An encoder that does not retrieve better says nothing of parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float32

from jaxpart.features.extract import Features
from jaxpart.features.pixels import SIDE

BASELINES = {
    "chance": "chance",
    "mean_colour": "mean colour",
    "pixels12_colour": "12 × 12 pixels, colour",
    "pixels12_grey": "12 × 12 pixels, grey",
    "untrained": "untrained encoder",
}
"""Name of a result, below "baseline/", and what tables call it; behind "untrained/" is a representation."""

PIXEL_BASELINES = ("mean_colour", "pixels12_colour", "pixels12_grey")


def pixel_baselines(
    pixels: Features,
) -> Iterator[tuple[str, Float32[np.ndarray, "patch channel"]]]:
    """What is retrieved by, with its name.

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


def label(name: str) -> str:
    """What tables call a baseline, "untrained encoder, embedding" of "untrained/embedding"."""
    first, *rest = name.split("/", 1)
    return ", ".join([BASELINES[first], *rest])


def strongest(
    values: Mapping[str, float], place: str, metric: str = "AP"
) -> tuple[str, float] | None:
    """The label and the value of the best baseline without an encoder; None where none was measured.

    Args:
      values: Results by name.
      place: Of the task, "critters/retrieval".
      metric: Behind the baseline's name, "AP" or "parts/AP".
    """
    found = {
        name: values[key]
        for name in ("chance", *PIXEL_BASELINES)
        if (key := f"{place}/baseline/{name}/{metric}") in values
    }
    if not found:
        return None
    best = max(found, key=lambda name: found[name])
    return label(best), found[best]
