"""Figures of whole images: attention of the last block, and principal components of the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxpart.report.encoded_images import EncodedImages
from jaxpart.report.figures.style import Picture, file_name, new_figure, plain

_PER_ROW = 8
_OUTSIDE = 0.9
"""Grey of patches that are left out."""


def attention(encoded: EncodedImages, count: int) -> Picture | None:
    """Attention of cls to the patches over each image: the mean of the heads, and each head.

    Args:
      encoded: The images with their attention; without it, the figure is None.
      count: Number of images.
    """
    if encoded.attention is None:
        return None
    heads = encoded.attention.shape[1]
    rows = min(count, len(encoded.images))
    figure = new_figure(0.95 * (heads + 2) + 0.3, 0.95 * rows + 0.5)
    axes = figure.subplots(rows, heads + 2, squeeze=False)
    for row in range(rows):
        axes[row, 0].imshow(encoded.images[row])
        for column, weights in enumerate(
            [encoded.attention[row].mean(axis=0), *encoded.attention[row]], start=1
        ):
            _overlay(axes[row, column], encoded.images[row], weights)
            if row == 0:
                title = f"head {column - 1}" if column > 1 else "mean"
                axes[row, column].set_title(title, fontsize=8)
    for axis in axes.ravel():
        axis.set_axis_off()
    return Picture(
        file_name("attention", encoded.label),
        f"{encoded.title}: attention of cls to the patches in the last block, laid over the image: the "
        "mean of the heads, and each head, from 0 (dark) to its largest weight (bright).",
        figure,
    )


def _overlay(
    axis: Any, image: UInt8[np.ndarray, "size size 3"], weights: Float[np.ndarray, "row column"]
) -> None:
    """Draws a map of patches over a grey image."""
    size = image.shape[0]
    axis.imshow(image.mean(axis=-1), cmap="gray", vmin=0, vmax=255)
    axis.imshow(
        weights, cmap="inferno", vmin=0, alpha=0.65, extent=(-0.5, size - 0.5, size - 0.5, -0.5)
    )


def principal_components(encoded: Sequence[EncodedImages]) -> Picture:
    """Patch tokens as colours: one colour is one direction in all images of an encoder."""
    lines = [-(-len(images.images) // _PER_ROW) for images in encoded]
    columns = min(_PER_ROW, max(len(images.images) for images in encoded))
    figure = new_figure(1.05 * columns + 0.2, 1.05 * 3 * sum(lines) + 0.3 * len(encoded))
    blocks = figure.subfigures(len(encoded), 1, squeeze=False, height_ratios=lines)[:, 0]
    for block, images, count in zip(blocks, encoded, lines, strict=True):
        block.suptitle(plain(images.title), x=0.01, ha="left", fontsize=9)
        axes = block.subplots(3 * count, columns, squeeze=False)
        mask = foreground(images.tokens)
        rows = (
            images.images,
            principal_colours(images.tokens),
            principal_colours(images.tokens, mask),
        )
        for number, shown in enumerate(zip(*rows, strict=True)):
            for row, pixels in enumerate(shown):
                axis = axes[3 * (number // _PER_ROW) + row, number % _PER_ROW]
                axis.imshow(pixels, interpolation="nearest")
        for axis in axes.ravel():
            axis.set_axis_off()
    return Picture(
        "principal_components",
        "Patch tokens as colours: red, green and blue are their first three principal components, "
        "one basis for all images of an encoder, so similar tokens have similar colours. Below, the same "
        "for the foreground alone: patches on one side of the first component, split automatically; the "
        "side less common at the image borders is taken as foreground, which can be wrong.",
        figure,
    )


def foreground(
    tokens: Float[np.ndarray, "image row column width"],
) -> Bool[np.ndarray, "image row column"]:
    """Which patches are foreground, by the first principal component, as Oquab et al. 2023 show DINOv2's.

    Otsu's threshold splits the patches; the side with the smaller share of patches at the images' borders
    is the foreground.
    """
    first = _components(tokens, tokens.reshape(-1, tokens.shape[-1]), 1)[..., 0]
    high = first > _threshold(first.ravel())
    border = np.ones(first.shape[1:], bool)
    border[1:-1, 1:-1] = False
    return high if high[:, border].mean() < high.mean() else ~high


def _threshold(values: Float[np.ndarray, " value"]) -> float:
    """Otsu's threshold: it maximises the variance between the two sides."""
    ordered = np.sort(values)
    below = np.arange(1, len(ordered))
    total = np.cumsum(ordered)
    means = total[:-1] / below - (total[-1] - total[:-1]) / (len(ordered) - below)
    between = below * (len(ordered) - below) * means**2
    best = int(between.argmax()) if len(between) else 0
    return float(ordered[best])


def principal_colours(
    tokens: Float[np.ndarray, "image row column width"],
    mask: Bool[np.ndarray, "image row column"] | None = None,
) -> Float[np.ndarray, "image row column 3"]:
    """The first three principal components over all images, in [0, 1].

    Args:
      tokens: Patch tokens.
      mask: The patches to use; the others are light grey.
    """
    chosen = np.ones(tokens.shape[:-1], bool) if mask is None or not mask.any() else mask
    parts = _components(tokens, tokens[chosen], 3)
    low, high = np.percentile(parts[chosen], [1, 99], axis=0)
    colours = np.clip((parts - low) / np.maximum(high - low, 1e-12), 0, 1)
    colours[~chosen] = _OUTSIDE
    return colours


def _components(
    tokens: Float[np.ndarray, "image row column width"],
    rows: Float[np.ndarray, "patch width"],
    count: int,
) -> Float[np.ndarray, "image row column count"]:
    """Projects tokens onto the first principal components of some rows."""
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)  # ascending
    basis = vectors[:, : -count - 1 : -1]
    largest = np.abs(basis).argmax(axis=0)
    # The sign of a component is arbitrary.
    basis = basis * np.sign(basis[largest, np.arange(basis.shape[1])])
    return (tokens - mean) @ basis
