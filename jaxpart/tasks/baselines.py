"""Baselines of part retrieval and classification without a trained encoder: chance, and pixels.

They use the same patches as the encoder. Pixels are means over 12 × 12 cells (`jaxpart.features.pixels`),
in colour (432 values) or grey (mean of red, green and blue); "mean_colour" is the mean of the patch. For
retrieval they are centred by subtracting their mean over the patches; for classification they are the
features of a logistic regression. An encoder that is not better shows no part-awareness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32, Int

from jaxpart.features.extract import Features
from jaxpart.features.pixels import SIDE
from jaxpart.probes.logistic import ITERATIONS, logistic_regression
from jaxpart.runs.progress import Progress
from jaxpart.runs.rows import Key, Row, select

BASELINES = {
    "chance": "chance",
    "mean_colour": "mean colour",
    "pixels12_colour": "12 × 12 pixels, colour",
    "pixels12_grey": "12 × 12 pixels, grey",
    "majority": "most frequent part",
}
"""Names of the baselines in tables, by the `representation` of their rows."""

METRICS = {"retrieval": "AP", "layers": "AP", "classification": "chosen"}
"""The metric of the baselines, by task; other tasks do not have them."""

BASELINE = "baseline"
"""The head of rows of `BASELINES`."""

UNTRAINED = "untrained"
"""The head of rows of the same encoder with random weights."""

UNTRAINED_LABEL = "untrained encoder"

PIXEL_BASELINES = ("mean_colour", "pixels12_colour", "pixels12_grey")


def pixel_vectors(
    pixels: Features,
) -> Iterator[tuple[str, Float32[np.ndarray, "patch channel"]]]:
    """Yields name and vectors of each of `PIXEL_BASELINES`."""
    cells = pixels.whole().reshape(-1, SIDE**2, 3)
    yield "mean_colour", cells.mean(axis=1)
    yield "pixels12_colour", cells.reshape(len(cells), -1)
    yield "pixels12_grey", cells.mean(axis=2)


def centred_pixels(
    pixels: Features,
) -> Iterator[tuple[str, Float32[np.ndarray, "patch channel"]]]:
    """The same, minus their mean over the patches."""
    for name, rows in pixel_vectors(pixels):
        yield name, rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)


def classified_pixels(
    train: Features,
    labels: Int[np.ndarray, " train"],
    test: Features,
    data: str,
    progress: Progress,
) -> Iterator[tuple[str, Int[np.ndarray, " test"]]]:
    """Yields name and predictions of the classification baselines.

    These are the most frequent class of the training patches, and logistic regression on the vectors of
    `pixel_vectors`.
    """
    yield "majority", np.full(test.shape[0], np.bincount(labels).argmax())
    for (name, vectors), (_, tested) in zip(pixel_vectors(train), pixel_vectors(test), strict=True):
        title = f"{data}: logistic regression on {BASELINES[name]}, steps (at most)"
        with progress.bar(title, ITERATIONS) as advance:
            yield name, logistic_regression(vectors, labels, tested, advance=advance)


def label(key: Key) -> str:
    """A result's name in tables: "embedding", "linear, cls_token", "chance", "untrained encoder, …"."""
    if key.head == BASELINE:
        return BASELINES.get(key.representation, key.representation)
    head = UNTRAINED_LABEL if key.head == UNTRAINED else key.head
    return ", ".join(filter(None, (head, key.representation)))


def strongest(
    rows: Sequence[Row], data: str, task: str, group: str = ""
) -> tuple[str, float] | None:
    """The label and the AP or accuracy of the best baseline; None if there are no baselines."""
    metric = METRICS.get(task, "")
    results = select(rows, data=data, task=task, metric=metric, head=BASELINE, group=group)
    if not results:
        return None
    best = max(results, key=lambda row: row.value)
    return label(best.key), best.value
