"""The style of all figures: readable in print, and with every kind of colour vision."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import pathlib
import re
import warnings
from collections.abc import Iterator, Sequence, Sized
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from jaxpart.io.files import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""The palette of Okabe and Ito."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

QUERY = "#d3122f"
RIGHT, WRONG = COLOURS[0], COLOURS[1]

_DOTS = 200
"""Dots per inch."""

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "axes.edgecolor": "#8a919c",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "jaxpart",
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.08,
    "savefig.facecolor": "white",
}


_LONGEST = 80
"""Maximum length of a label in a figure, or of a file name."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
      name: File name without suffix.
      caption: Caption on the page, and alternative text.
      figure: The figure itself.
      chart: Whether it has no photographs, so that a dark page may invert it.
    """

    name: str
    caption: str
    figure: Figure
    chart: bool = False

    def save(self, folder: pathlib.Path) -> tuple[int, int]:
        """Writes NAME.svg and NAME.png; returns its width and height in CSS pixels."""
        with house_style(), warnings.catch_warnings():
            # Ignores labels that are too long, or have letters that the font lacks.
            warnings.simplefilter("ignore", UserWarning)
            self.figure.savefig(folder / f"{self.name}.svg", metadata={"Date": None})
            self.figure.savefig(folder / f"{self.name}.png", dpi=_DOTS)
        with Image.open(folder / f"{self.name}.png") as image:
            return round(image.width * 96 / _DOTS), round(image.height * 96 / _DOTS)


def house_style() -> AbstractContextManager[None]:
    """A context in which figures are drawn and saved in this style."""
    return matplotlib.rc_context(_SETTINGS)


def write_figure(figure: Figure, path: pathlib.Path, dpi: int) -> None:
    """Writes a figure in the current style as .png or .svg, by the suffix of its path.

    Raises:
      JaxpartError: It cannot be written.
    """
    metadata: Any = {"Date": None} if path.suffix == ".svg" else None
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=dpi, metadata=metadata)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches. It is not registered with pyplot, so it needs no display."""
    return Figure(figsize=(width, height), layout="constrained")


def panels(titles: Sequence[str], *, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A figure with a panel for each title, at most three in a row; sizes in inches."""
    columns = min(len(titles), 3)
    rows = -(-len(titles) // columns)
    figure = new_figure(width * columns, height * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axis in axes[len(titles) :]:
        axis.remove()
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(plain(title), loc="left")
    return figure, axes[: len(titles)]


def marks() -> Iterator[tuple[str, str]]:
    """Cycles endlessly through all combinations of colours and markers."""
    for shift in itertools.cycle(range(len(MARKERS))):
        for i, colour in enumerate(COLOURS):
            yield colour, MARKERS[(i + shift) % len(MARKERS)]


def plain(text: str) -> str:
    """Escapes text for matplotlib, which would read $ as mathematics, and shortens very long lines."""
    lines = (shortened(line, most=_LONGEST) for line in text.split("\n"))
    return re.sub(r"(?<!\\)\$", r"\$", "\n".join(lines))


def shortened(text: str, *, most: int = 44) -> str:
    """Shortens a text, for example for a legend, to its two ends."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[1 - most // 2 :]}"


def legend_height(entries: Sized) -> float:
    """Height of a panel with room for a legend beside it, in inches."""
    return 0.6 + 0.2 * len(entries)


def file_name(what: str, label: str) -> str:
    """A unique file name of a figure, without suffix.

    Args:
      what: The kind of figure.
      label: Usually the label of its run; any text.
    """
    stem = re.sub(r"\W+", "_", f"{what}_{label}").strip("_")
    if len(stem) <= _LONGEST and re.fullmatch(r"[A-Za-z0-9 ,]+( \([A-Za-z0-9]+\))?", label):
        return stem
    digest = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_]+', '_', stem)[:_LONGEST]}_{digest}"
