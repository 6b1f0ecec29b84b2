"""A 16:9 slide in large type: the parts that encoded and projected features retrieve."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Bool
from matplotlib.figure import Figure

from jaxpart.errors import JaxpartError
from jaxpart.report.figures.galleries import draw_query, montage
from jaxpart.report.figures.style import (
    QUERY,
    RIGHT,
    WRONG,
    house_style,
    plain,
    shortened,
    write_figure,
)
from jaxpart.report.layouts import paper_values
from jaxpart.report.patch_sets import Pair, PatchSet, word
from jaxpart.report.runs import Run
from jaxpart.runs.comparable import data_differs
from jaxpart.runs.config_diff import differences
from jaxpart.runs.rows import Key, Row, find_row
from jaxpart.tasks.baselines import BASELINE, strongest

_REPRESENTATIONS = ("embedding", "projection")
_DOTS = 100
"""Dots per inch; the slide has 19.2 × 10.8 inches, 1920 × 1080 pixels."""
_INK, _QUIET = "#16191f", "#565d6b"
_BARS = {"embedding": "#4b5563", "projection": "#9aa1ad", "": "#d7dbe1"}
_COLUMNS, _LINES, _TILE, _EDGE = 5, 2, 140, 8
_SHOWN = _COLUMNS * _LINES


def keys_of(run: Run, data: str) -> list[Key]:
    """Keys of a run's AP by encoded and by projected features on a data set; empty if it lacks either."""
    keys = [Key(data, "retrieval", "AP", representation=name) for name in _REPRESENTATIONS]
    return keys if all(find_row(run.rows, *key) for key in keys) else []


def slide(run: Run, data: str, patches: PatchSet) -> Figure:
    """A query part with its nearest patches by both representations, next to their AP and baselines.

    The query is a typical one, see `_typical`. The paper's AP is shown only if it is comparable, see
    `jaxpart.runs.comparable`.

    Args:
      run: A run that retrieved by both representations.
      data: Canonical name of the data set.
      patches: Its part patches, with the run's neighbours by both representations.

    Raises:
      JaxpartError: No patch has an AP, or the neighbours are missing.
    """
    by_name = {p.representation: p for p in patches.pairs if p.encoder == run.label}
    pairs = [by_name[name] for name in _REPRESENTATIONS if name in by_name]
    if len(pairs) < len(_REPRESENTATIONS):
        raise JaxpartError(f"{run.label} has no encoded and projected neighbours to show")
    query = _typical(patches, pairs)
    figure = Figure(figsize=(19.2, 10.8), dpi=_DOTS, facecolor="white")
    figure.text(0.035, 0.925, "Which patches look most like this part?", size=38, weight="bold")
    label = f"{run.label} ({run.caveat})" if run.caveat else run.label
    figure.text(
        0.035, 0.868, plain(shortened(f"{label} on {data}", most=90)), size=21, color=_QUIET
    )
    _draw_query(figure, patches, query)
    for row, pair in enumerate(pairs):
        _draw_neighbours(figure, patches, pair, query, top=0.79 - 0.365 * row)
    _draw_levels(figure, run, data)
    figure.text(0.035, 0.235, "solid: the same part", size=23, color=RIGHT, weight="bold")
    if not all(_same_part(patches, pair)[query].all() for pair in pairs):
        figure.text(0.035, 0.19, "dashed: another part", size=23, color=WRONG, weight="bold")
    shown, available = len(patches.part), patches.available
    number = f"{shown:,}" if shown == available else f"{shown:,} of the {available:,}"
    figure.text(
        0.035, 0.035,
        f"The {_SHOWN} nearest among {number} patches, for a query close to the average. Thin lines: 95 % "
        "intervals.",
        size=17, color=_QUIET,
    )  # fmt: skip
    return figure


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a slide as .png of 1920 × 1080 pixels or as .svg, by the file's suffix.

    Raises:
      JaxpartError: It cannot be written.
    """
    settings: Any = {"savefig.bbox": "standard"}
    with house_style(), matplotlib.rc_context(settings):
        write_figure(figure, path, _DOTS)


def _same_part(patches: PatchSet, pair: Pair) -> Bool[np.ndarray, "patch shown"]:
    """Whether each of a patch's shown neighbours is of its part."""
    return patches.part[pair.neighbours[:, :_SHOWN]] == patches.part[:, None]


def _typical(patches: PatchSet, pairs: Sequence[Pair]) -> int:
    """The patch closest to the mean, so neither the best nor the worst example.

    Compares the numbers on the slide: for each representation, the AP and the share of shown
    neighbours of the same part.
    """
    scores = [pair.ap for pair in pairs if pair.ap is not None]
    if len(scores) < len(pairs) or np.isnan(scores).all():
        raise JaxpartError("no part has two patches, so there is no AP to show")
    scores += [_same_part(patches, pair).mean(axis=1) for pair in pairs]
    return int(np.nanargmin(sum(np.abs(values - np.nanmean(values)) for values in scores)))


def _draw_query(figure: Figure, patches: PatchSet, query: int) -> None:
    name = patches.parts[patches.part[query]].replace("_", " ")
    axis = figure.add_axes((0.035, 0.31, 0.255, 0.255 * 16 / 9))
    draw_query(axis, patches, query, line=6)
    figure.text(0.035, 0.79, plain(f"Query: {shortened(name, most=20)}"), size=27, weight="bold",
                color=QUERY)  # fmt: skip


def _draw_neighbours(
    figure: Figure, patches: PatchSet, pair: Pair, query: int, *, top: float
) -> None:
    title = word(pair.representation).capitalize()
    figure.text(0.315, top, title, size=27, weight="bold")
    if pair.ap is not None:
        right = _same_part(patches, pair)[query].sum()
        figure.text(0.71, top, f"{right} of {_SHOWN} right · AP {100 * pair.ap[query]:.0f} %", size=21,
                    color=_QUIET, ha="right")  # fmt: skip
    pixels = montage(patches, pair, query, columns=_COLUMNS, lines=_LINES, tile=_TILE, edge=_EDGE)
    height = 0.395 * 16 / 9 * pixels.shape[0] / pixels.shape[1]
    axis = figure.add_axes((0.315, top - 0.022 - height, 0.395, height))
    axis.imshow(pixels)
    axis.set_axis_off()


def _draw_levels(figure: Figure, run: Run, data: str) -> None:
    """Bars of AP: both representations, the best baseline and chance."""
    levels: list[tuple[str, str, Row, float | None]] = []
    for key in keys_of(run, data):
        row = find_row(run.rows, *key)
        assert row is not None
        levels.append((word(key.representation), _BARS[key.representation], row, _paper(run, key)))
    best = strongest(run.rows, data, "retrieval")
    chance = find_row(run.rows, data, "retrieval", "AP", BASELINE, "chance")
    if best and chance is not None and best[1] > chance.value:
        row = Row(data, "retrieval", "AP", best[1])
        levels.append((f"baseline: {best[0]}", _BARS[""], row, None))
    if chance is not None:
        levels.append(("baseline: chance", _BARS[""], chance, None))
    axis = figure.add_axes((0.76, 0.10, 0.21, 0.62))
    most = max(max(row.high or row.value, (theirs or 0) / 100) for *_, row, theirs in levels)
    for line, (name, colour, row, theirs) in enumerate(levels):
        value = 100 * row.value
        axis.barh(line, value, 0.5, color=colour)
        if row.interval:
            axis.plot([100 * end for end in row.interval], [line, line], color=_INK, lw=3)
        axis.text(0, line - 0.3, name, size=20, va="bottom")
        right = max(100 * (row.high or row.value), theirs or 0) + 5 * most
        axis.text(right, line, f"{value:.1f}", size=27, va="center", weight="bold")
        if theirs is not None:
            axis.plot([theirs, theirs], [line - 0.27, line + 0.27], color=QUERY, lw=4)
            axis.text(theirs, line + 0.28, f"paper {theirs:.1f}", size=18, color=QUERY,
                      ha="center", va="top")  # fmt: skip
    axis.set_ylim(len(levels) - 0.5, -0.7)
    axis.set_xlim(0, 140 * most)
    axis.set_axis_off()
    patches = find_row(run.rows, data, "retrieval", "patches")
    unit = f"percent, of {patches.value:,.0f} patches" if patches else "percent"
    figure.text(0.76, 0.79, "Average precision", size=27, weight="bold", color=_INK)
    figure.text(0.76, 0.752, unit, size=21, color=_QUIET)


def _paper(run: Run, key: Key) -> float | None:
    """The paper's AP in percent, if it is comparable with the run's."""
    if run.caveat or data_differs(run.rows, key) or differences(run.config, key.task):
        return None
    return paper_values(run.encoder["name"], run.rows).get(key)
