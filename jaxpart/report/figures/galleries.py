"""Patch galleries, as in the paper's figures 2 and 4: a query and its nearest patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib import colors
from matplotlib.patches import Rectangle

from jaxpart.report.figures.style import QUERY, RIGHT, WRONG, Picture, file_name, new_figure, plain
from jaxpart.report.patch_sets import NEIGHBOURS, Pair, PatchSet, word

_TILE, _EDGE, _GAP = 72, 5, 4
_QUERIES = 4
_COLUMNS = NEIGHBOURS // 2


def galleries(patches: PatchSet) -> Iterator[Picture]:
    """A gallery for every encoder: each query's neighbours, encoded above projected."""
    encoders = list(dict.fromkeys(pair.encoder for pair in patches.pairs))
    for encoder in encoders:
        pairs = [pair for pair in patches.pairs if pair.encoder == encoder]
        chosen = [p for p in pairs if p.representation in ("embedding", "projection")] or pairs[:2]
        yield _gallery(patches, encoder, chosen)


def _gallery(patches: PatchSet, encoder: str, pairs: Sequence[Pair]) -> Picture:
    queries = _queries(patches)
    lines = len(pairs)
    figure = new_figure(9.6, len(queries) * (0.3 + 1.33 * lines) + 0.4)
    grid = figure.add_gridspec(
        len(queries) * lines, 2, width_ratios=[1.3 * lines, 7.9], hspace=0.02, wspace=0.02
    )
    for row, query in enumerate(queries):
        axis = figure.add_subplot(grid[row * lines : (row + 1) * lines, 0])
        draw_query(axis, patches, query, line=2.5)
        if patches.kind == "parts":
            axis.set_title(plain(patches.parts[patches.part[query]].replace("_", " ")), loc="left")
        for line, pair in enumerate(pairs):
            axis = figure.add_subplot(grid[row * lines + line, 1])
            axis.imshow(montage(patches, pair, query))
            title = word(pair.representation)
            if pair.ap is not None:
                title += f", AP {100 * pair.ap[query]:.1f} %"
            axis.set_title(title, loc="left", pad=3)
            axis.set_axis_off()
    caveat = pairs[0].caveat
    if caveat:
        figure.suptitle(plain(f"{encoder} ({caveat})"), x=0.01, ha="left", fontsize=9)
    shown = f"{len(patches.part):,} patches"
    marked = (
        "Solid blue: the same part; dashed orange: another."
        if patches.kind == "parts"
        else "7 × 7 overlapping windows of each image."
    )
    return Picture(
        file_name("gallery", f"{patches.name} {encoder}"),
        f"{encoder}{f' ({caveat})' if caveat else ''}, {patches.name}: queries boxed in red and their "
        f"{NEIGHBOURS} nearest among {shown}. {marked}",
        figure,
    )


def _queries(patches: PatchSet) -> list[int]:
    """The middle windows of several images, or a patch of each part, from different images."""
    if patches.kind == "windows":
        images = range(len(patches.images))[:_QUERIES]
        per_image = [np.flatnonzero(patches.image == i) for i in images]
        return [int(windows[len(windows) // 2]) for windows in per_image]
    queries = []
    for number in range(len(patches.parts))[:_QUERIES]:
        of_part = np.flatnonzero(patches.part == number)
        if len(of_part):
            queries.append(int(of_part[len(of_part) * (number + 1) // (len(patches.parts) + 1)]))
    return queries


def draw_query(axis: Any, patches: PatchSet, query: int, *, line: float) -> None:
    """Draws the picture of a query, boxed with a line of this width."""
    picture = patches.pictures[int(patches.image[query])]
    axis.imshow(picture, interpolation="bicubic")
    left, top, right, bottom = patches.box[query] * np.array(picture.size * 2)
    box = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=QUERY, lw=line)
    axis.add_patch(box)
    axis.set(**square(picture.size, (left, top, right, bottom)))
    axis.set_axis_off()


def square(
    size: tuple[int, int], box: tuple[float, float, float, float]
) -> dict[str, tuple[float, float]]:
    """Axis limits of a query's picture: a square around the box, so that all queries have one size.

    Args:
      size: Width and height of the picture.
      box: The query in pixels; may reach outside.
    """
    left, top, right, bottom = box
    side = max(min(size), right - left, bottom - top)

    def within(middle: float, length: int) -> float:
        """The start of the square; it lies within the picture if the box does."""
        low, high = 0.0, max(0.0, length - side)
        return min(max(middle - side / 2, low), high)

    x, y = within((left + right) / 2, size[0]), within((top + bottom) / 2, size[1])
    return {"xlim": (x - 0.5, x + side - 0.5), "ylim": (y + side - 0.5, y - 0.5)}


def montage(
    patches: PatchSet,
    pair: Pair,
    query: int,
    *,
    columns: int = _COLUMNS,
    lines: int = 2,
    tile: int = _TILE,
    edge: int = _EDGE,
) -> UInt8[np.ndarray, "height width 3"]:
    """An image of a query's neighbours in rows, nearest first; with part names, outlined.

    Args:
      patches: The patches.
      pair: The encoder and representation that give the neighbours.
      query: Number of the query.
      columns: Neighbours in a row.
      lines: Number of rows.
      tile: Side of a neighbour in pixels.
      edge: Width of its outline.
    """
    side = tile + 2 * edge + _GAP
    canvas = np.full((lines * side - _GAP, columns * side - _GAP, 3), 255, np.uint8)
    for slot, other in enumerate(pair.neighbours[query][: columns * lines].tolist()):
        top, left = (slot // columns) * side, (slot % columns) * side
        outer = canvas[top : top + tile + 2 * edge, left : left + tile + 2 * edge]
        if patches.kind == "parts":
            right = patches.part[other] == patches.part[query]
            outer[:] = (255 * np.array(colors.to_rgb(RIGHT if right else WRONG))).astype(np.uint8)
            if not right:  # dashes, for readers who cannot tell the colours apart
                dash = (np.arange(len(outer)) // (tile // 9)) % 2 == 1
                dash[:edge] = dash[-edge:] = False
                outer[dash] = outer[:, dash] = 255
        outer[edge:-edge, edge:-edge] = np.asarray(patches.thumbnail(other, tile))
    return canvas
