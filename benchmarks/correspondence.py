"""Matches all test pairs of SPair-71k on given features: python -m benchmarks correspondence

As many pairs (12,234), classes (18), images (360, 20 per class) and points (8 per pair) as the official
test split has, with random features of a ViT-B/16 at 224 pixels; and the pairs of one class at the
published size, 840 pixels with ViT-B/14. The alternative is a PyTorch loop over pairs on the same features,
in two variants: as published by GeoAware-SC and sd-dino, with the similarities of all tokens to all tokens,
from which the points' rows are selected (timed on some pairs and scaled, since every pair costs the same);
and the leanest loop, with the points' similarities alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.timing import Row, faster, medians, value

IMAGES, POINTS = 20, 8


def made(pairs: int, classes: int, grid: int, channels: int) -> tuple[np.ndarray, ...]:
    """Tokens of all images; each pair's source, target (of the same class) and source cells."""
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((classes * IMAGES, grid * grid, channels), np.float32)
    offset = rng.integers(0, classes, pairs) * IMAGES
    source = rng.integers(0, IMAGES, pairs)
    target = (source + rng.integers(1, IMAGES, pairs)) % IMAGES
    cells = rng.integers(0, grid * grid, (pairs, POINTS))
    return tokens, offset + source, offset + target, cells


def rows(quick: bool) -> list[Row]:
    if quick:
        return list(measured(60, 2, 6, 16, 20, 1))
    return [*measured(12_234, 18, 14, 768, 200, 5), *measured(680, 1, 60, 768, 5, 3)]


def measured(
    pairs: int, classes: int, grid: int, channels: int, some: int, runs: int
) -> Iterator[Row]:
    import torch

    from jaxpart.tasks.correspondence.matching import match
    from jaxpart.tasks.correspondence.places import Sampled

    tokens, source, target, cells = made(pairs, classes, grid, channels)
    images = torch.tensor(tokens)
    query_cells = torch.tensor(cells)
    normalize = partial(torch.nn.functional.normalize, dim=-1)
    answers: dict[str, np.ndarray] = {}

    def published() -> None:
        matches = []
        for i in range(some):
            similarity = normalize(images[source[i]]) @ normalize(images[target[i]]).T
            matches.append(similarity[query_cells[i]].argmax(dim=1).numpy())
        answers["published"] = np.stack(matches)

    def lean() -> None:
        unit = normalize(images)
        matches = [
            (unit[source[i]][query_cells[i]] @ unit[target[i]].T).argmax(dim=1).numpy()
            for i in range(pairs)
        ]
        answers["lean"] = np.stack(matches)

    def ours() -> None:
        flat = cells.reshape(-1, 1).astype(np.int32)
        at = Sampled(flat, np.ones(flat.shape, np.float32))
        per_point = partial(np.repeat, repeats=POINTS)
        matches = match(tokens, per_point(source), at, per_point(target)).astype(np.int64)
        answers["ours"] = (matches[:, 1] * grid + matches[:, 0]).reshape(pairs, POINTS)

    ours()  # compiles
    seconds = medians(runs, published=published, lean=lean, ours=ours)
    scaled = seconds["published"] * pairs / some
    different = sum(
        int((answers["ours"][: len(theirs)] != theirs).sum())
        for theirs in (answers["published"], answers["lean"])
    )
    size = f"{pairs:,} pairs × {POINTS} points, {grid} × {grid} × {channels}"
    yield faster(size, seconds["ours"], scaled, "PyTorch loop as published, scaled", goal=10)
    yield faster(size, seconds["ours"], seconds["lean"], "leanest PyTorch loop")
    yield value(f"{size}: points matched differently", different, "", most=0)
