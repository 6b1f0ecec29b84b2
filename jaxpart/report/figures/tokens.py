"""What tokens of whole images show: attention of the last block, and their principal components."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxpart.report.figures.style import Picture, file_name, new_figure, plain
from jaxpart.report.seen import Seen

_ATTENDED = 4


def attention(seen: Seen) -> Picture | None:
    """Every head's attention from cls to the patches, beside the image; None where it is not known."""
    if seen.attention is None:
        return None
    heads = seen.attention.shape[1]
    rows = min(_ATTENDED, len(seen.images))
    figure = new_figure(0.95 * (heads + 1) + 0.3, 0.95 * rows + 0.5)
    axes = figure.subplots(rows, heads + 1, squeeze=False)
    for row in range(rows):
        axes[row, 0].imshow(seen.images[row])
        for head in range(heads):
            weights = seen.attention[row, head]
            axes[row, head + 1].imshow(weights, cmap="viridis", vmin=0)
            if row == 0:
                axes[row, head + 1].set_title(f"head {head + 1}", fontsize=8)
    for axis in axes.ravel():
        axis.set_axis_off()
    return Picture(
        file_name("attention", seen.label),
        f"{seen.said}: attention of cls to the patches in the last block, each head from 0 (dark) to "
        "its largest weight (yellow).",
        figure,
    )


def principal_components(seen: Sequence[Seen]) -> Picture:
    """Patch tokens as colours: the same colour is the same direction in all images of an encoder."""
    columns = max(len(one.images) for one in seen)
    figure = new_figure(1.05 * columns + 0.2, 1.05 * 2 * len(seen) + 0.3 * len(seen))
    blocks = figure.subfigures(len(seen), 1, squeeze=False)[:, 0]
    for block, one in zip(blocks, seen, strict=True):
        block.suptitle(plain(one.said), x=0.01, ha="left", fontsize=9)
        axes = block.subplots(2, columns, squeeze=False)
        for column, (image, colour) in enumerate(
            zip(one.images, principal_colours(one.tokens), strict=True)
        ):
            axes[0, column].imshow(image)
            axes[1, column].imshow(colour, interpolation="nearest")
        for axis in axes.ravel():
            axis.set_axis_off()
    return Picture(
        "principal_components",
        "Patch tokens as colours: red, green and blue are their first three principal components, "
        "one basis for all images of an encoder, so that the same part has the same colour where the "
        "encoder knows it.",
        figure,
    )


def principal_colours(
    tokens: Float[np.ndarray, "image row column width"],
) -> Float[np.ndarray, "image row column 3"]:
    """The first three principal components over all images, from 0 to 1."""
    rows = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)
    rows = rows - rows.mean(axis=0)
    _, vectors = np.linalg.eigh(rows.T @ rows)  # rising
    basis = vectors[:, :-4:-1]
    largest = np.abs(basis).argmax(axis=0)
    basis = basis * np.sign(basis[largest, np.arange(basis.shape[1])])  # else its sign is arbitrary
    parts = rows @ basis
    low, high = np.percentile(parts, [1, 99], axis=0)
    colours = np.clip((parts - low) / np.maximum(high - low, 1e-12), 0, 1)
    return colours.reshape(*tokens.shape[:-1], -1)
