"""Maps of unsupervised parts: every token in the colour of its part."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxpart.data.palettes import distinct_colours
from jaxpart.errors import JaxpartError
from jaxpart.report.figures.style import Picture, file_name, new_figure, plain
from jaxpart.report.runs import Run
from jaxpart.runs.items import read_items
from jaxpart.runs.rows import Key, find_row

_TASK = "unsupervised_parts"
_COLOUR = 0.6
"""Opacity of the colours over the grey picture."""


def part_maps(runs: Sequence[Run]) -> Iterator[Picture]:
    """Maps for each run and data set: for each method, the representation with the highest NMI.

    Args:
      runs: The runs; those without unsupervised parts have no maps.

    Raises:
      JaxpartError: A file of parts is damaged.
    """
    for run in runs:
        for file in sorted(run.path.glob(f"{_TASK}_*.npz")):
            items, results = read_items(file, "copy it again")
            pictures = items.get("pictures")
            if pictures is None or pictures.dtype != np.uint8:
                raise JaxpartError(f"{file} holds no images; copy it again")
            if not len(pictures):
                continue
            maps = {key: labels for key, labels in results.items() if key.metric == "parts"}
            if pictures.ndim != 4 or pictures.shape[3] != 3 or not maps:
                raise JaxpartError(f"{file} holds no images with parts; copy it again")
            for key, labels in maps.items():
                _check(file, key, labels, len(pictures))
            yield _picture(run, pictures, maps)


def _check(file: pathlib.Path, key: Key, labels: np.ndarray, pictures: int) -> None:
    head = re.fullmatch(r"\w+@(\d{1,4})", key.head)
    well_formed = (
        labels.ndim == 3 and labels.dtype == np.int16 and len(labels) == pictures and labels.size
    )
    if not (head and well_formed and 0 <= labels.min() <= labels.max() <= int(head[1])):
        raise JaxpartError(f"{file}: {key.label} is not a map of parts; copy it again")


def _picture(
    run: Run,
    images: UInt8[np.ndarray, "image height width 3"],
    maps: dict[Key, Int[np.ndarray, "image row column"]],
) -> Picture:
    def nmi(key: Key) -> float:
        row = find_row(run.rows, *key._replace(metric="NMI"))
        return row.value if row else 0.0

    heads = dict.fromkeys(key.head for key in maps)
    with_tokens = [key for key in maps if "tokens" in key.representation]
    shown = [
        max((k for k in with_tokens if k.head == head), key=nmi, default=None) for head in heads
    ]
    rows = [key for key in shown if key is not None]
    size = 1.05
    figure = new_figure(size * len(images) + 0.2, (size + 0.2) * (len(rows) + 1))
    axes = figure.subplots(len(rows) + 1, len(images), squeeze=False)
    for axis, image in zip(axes[0], images, strict=True):
        axis.imshow(image)
    for line, key in zip(axes[1:], rows, strict=True):
        line[0].set_title(plain(f"{key.head}, {key.representation}"), fontsize=8, loc="left")
        background = int(key.head.rpartition("@")[2])
        for axis, image, labels in zip(line, images, maps[key], strict=True):
            axis.imshow(coloured(image, labels, background))
    for axis in axes.ravel():
        axis.set_axis_off()
    data = next(iter(maps)).data
    return Picture(
        file_name(f"part_maps_{data}", run.label),
        f"{run.label}: clusters of patch tokens on test images of {data}, for each method those of "
        "the block whose NMI with keypoints is highest. One colour is one part in all images of a row; "
        "pale: background.",
        figure,
    )


def coloured(
    image: UInt8[np.ndarray, "height width 3"],
    labels: Int[np.ndarray, "row column"],
    background: int,
) -> Float[np.ndarray, "height width 3"]:
    """Colours a picture by its parts, in [0, 1]; the background is pale.

    Args:
      image: The picture.
      labels: The part of each cell.
      background: The label of the background.
    """
    down, across = (
        np.arange(pixels) * cells // pixels
        for pixels, cells in zip(image.shape[:2], labels.shape, strict=True)
    )
    pixel_labels = labels[np.ix_(down, across)]
    colours = np.vstack([distinct_colours(background), [[255] * 3]]) / 255
    grey = np.repeat(image.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    return (1 - _COLOUR) * grey + _COLOUR * colours[pixel_labels]
