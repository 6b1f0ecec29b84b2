"""Matching all test pairs of SPair-71k, of features that are there: python -m benchmarks correspondence

As many pairs (12,234), classes (18), images (360, 20 of a class) and points (8 of a pair) as the official
test split has, of random features of a ViT-B/16 at 224 pixels; and the pairs of one class at the published
size, 840 pixels with ViT-B/14. The alternative is a loop over pairs in PyTorch on the same features, in two
ways: as GeoAware-SC and sd-dino publish it, with the similarities of all tokens to all tokens, of which the
points' are looked up (timed on some pairs and scaled, since every pair costs the same); and the leanest
loop, with those of the points alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.timing import Row, faster, medians, value

IMAGES, POINTS = 20, 8


def made(pairs: int, classes: int, grid: int, channels: int) -> tuple[np.ndarray, ...]:
    """Tokens of all images; source, target and source cells of each pair, within classes."""
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((classes * IMAGES, grid * grid, channels), np.float32)
    first = rng.integers(0, classes, pairs) * IMAGES
    source = rng.integers(0, IMAGES, pairs)
    target = (source + rng.integers(1, IMAGES, pairs)) % IMAGES
    cells = rng.integers(0, grid * grid, (pairs, POINTS))
    return tokens, first + source, first + target, cells


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
    places = torch.tensor(cells)
    unit_of = partial(torch.nn.functional.normalize, dim=-1)
    answers: dict[str, np.ndarray] = {}

    def published() -> None:
        found = []
        for i in range(some):
            similarity = unit_of(images[source[i]]) @ unit_of(images[target[i]]).T
            found.append(similarity[places[i]].argmax(dim=1).numpy())
        answers["published"] = np.stack(found)

    def lean() -> None:
        unit = unit_of(images)
        found = [
            (unit[source[i]][places[i]] @ unit[target[i]].T).argmax(dim=1).numpy()
            for i in range(pairs)
        ]
        answers["lean"] = np.stack(found)

    def ours() -> None:
        flat = cells.reshape(-1, 1).astype(np.int32)
        at = Sampled(flat, np.ones(flat.shape, np.float32))
        of = partial(np.repeat, repeats=POINTS)
        found = match(tokens, of(source), at, of(target)).astype(np.int64)
        answers["ours"] = (found[:, 1] * grid + found[:, 0]).reshape(pairs, POINTS)

    ours()  # compiles
    seconds = medians(runs, published=published, lean=lean, ours=ours)
    scaled = seconds["published"] * pairs / some
    other = sum(
        int((answers["ours"][: len(theirs)] != theirs).sum())
        for theirs in (answers["published"], answers["lean"])
    )
    size = f"{pairs:,} pairs × {POINTS} points, {grid} × {grid} × {channels}"
    yield faster(size, seconds["ours"], scaled, "loop in PyTorch as published, scaled", goal=10)
    yield faster(size, seconds["ours"], seconds["lean"], "leanest loop in PyTorch")
    yield value(f"{size}: points matched otherwise", other, "", most=0)
