"""A figure of encoders' validation curves during training."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

from jaxpart.pretraining.validation import MEASURES
from jaxpart.report.figures.style import house_style, legend_height, marks, panels, write_figure

_TITLES = {
    "kinds": "linear probe on kinds (accuracy, %)",
    "parts": "part retrieval (AP, %)",
    "rank": "effective rank of embeddings",
}


def draw(curves: Mapping[str, Mapping[str, Sequence[float]]], path: pathlib.Path) -> None:
    """Draws three panels with a line per encoder.

    Args:
      curves: For each name in the legend, "images" (seen so far) and the values of each of
        `jaxpart.pretraining.validation.MEASURES`.
      path: Output file, ending in .png or .svg.

    Raises:
      JaxpartError: It cannot be written.
    """
    with house_style():
        height = max(2.8, legend_height(curves))
        figure, axes = panels([_TITLES[measure] for measure in MEASURES], width=3.6, height=height)
        for axis, measure in zip(axes, MEASURES, strict=True):
            unit = 1 if measure == "rank" else 100
            for (name, curve), (colour, marker) in zip(curves.items(), marks(), strict=False):
                thousands = [images / 1000 for images in curve["images"]]
                values = [unit * value for value in curve[measure]]
                axis.plot(
                    thousands, values, color=colour, marker=marker, markersize=3.5, label=name
                )
            axis.set_xlabel("thousand images seen")
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
        write_figure(figure, path, 150)
