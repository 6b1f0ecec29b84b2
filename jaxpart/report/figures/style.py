"""How all pictures look: readable in print, and with every kind of colour vision."""

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

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's, darkest first."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")

QUERY = "#d3122f"
RIGHT, WRONG = COLOURS[0], COLOURS[1]

_DOTS = 200
"""Per inch."""

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
"""Characters of a label in a figure, or of the name of its files."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
      name: Of its files.
      caption: What it shows, for the page and for those who cannot see it.
      figure: The figure itself.
      chart: Whether it is without photographs, so that a dark page may show it inverted.
    """

    name: str
    caption: str
    figure: Figure
    chart: bool = False

    def save(self, folder: pathlib.Path) -> tuple[int, int]:
        """Writes NAME.svg and NAME.png; returns its width and height in a page's pixels, 96 an inch."""
        with house_style(), warnings.catch_warnings():
            # Of labels that are long, or in letters that the font lacks.
            warnings.simplefilter("ignore", UserWarning)
            self.figure.savefig(folder / f"{self.name}.svg", metadata={"Date": None})
            self.figure.savefig(folder / f"{self.name}.png", dpi=_DOTS)
        with Image.open(folder / f"{self.name}.png") as image:
            return round(image.width * 96 / _DOTS), round(image.height * 96 / _DOTS)


def house_style() -> AbstractContextManager[None]:
    """In it figures are drawn and saved."""
    return matplotlib.rc_context(_SETTINGS)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; inches. Not pyplot's: it belongs to nobody else and needs no screen."""
    return Figure(figsize=(width, height), layout="constrained")


def panels(titles: Sequence[str], *, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A figure with a panel of that size for each title, at most three in a row."""
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
    """Colours with markers without end, never the same twice before all have been."""
    for shift in itertools.cycle(range(len(MARKERS))):
        for i, colour in enumerate(COLOURS):
            yield colour, MARKERS[(i + shift) % len(MARKERS)]


def plain(text: str) -> str:
    """Text that matplotlib does not take for mathematics; of very long lines the two ends."""
    lines = (shortened(line, most=_LONGEST) for line in text.split("\n"))
    return re.sub(r"(?<!\\)\$", r"\$", "\n".join(lines))


def shortened(text: str, *, most: int = 44) -> str:
    """Of a text that is too long, for a legend say, its two ends."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[1 - most // 2 :]}"


def legend_height(entries: Sized) -> float:
    """Of a panel that has room for a legend beside it; inches."""
    return 0.6 + 0.2 * len(entries)


def file_name(what: str, label: str) -> str:
    """The name of a figure's files, which no other has.

    Args:
      what: The kind of figure.
      label: Whose it is: a run, say, with a folder's name of any length and content.
    """
    stem = re.sub(r"\W+", "_", f"{what}_{label}").strip("_")
    if len(stem) <= _LONGEST and re.fullmatch(r"[A-Za-z0-9 ,]+( \([A-Za-z0-9]+\))?", label):
        return stem
    digest = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_]+', '_', stem)[:_LONGEST]}_{digest}"
