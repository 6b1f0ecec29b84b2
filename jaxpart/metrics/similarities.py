"""Cosine similarities on the host."""

from __future__ import annotations

import concurrent.futures
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from jaxpart.errors import JaxpartError

_COSINE_EPSILON = 1e-8
"""Smallest norm that a feature is divided by, as in `torch.nn.functional.cosine_similarity`."""

_BLOCK_VALUES = 1 << 20
"""Of features, brought to length 1 at a time."""

_TILE = 512
"""Rows of a square of products: it is mirrored while it is in a core's cache."""


class Rows(Protocol):
    """A feature per item, of which some neighbouring ones are asked for at a time: `[items, channels]`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[items, channels]."""

    def __getitem__(self, rows: slice) -> Any:
        """Those of some items."""


def unit_rows(features: Rows, *, padded: int = 0) -> Float32[np.ndarray, "items channels"]:
    """Features of length 1, whose products are cosines, in an array of their own.

    Beside it no more than a few MB are held.

    Args:
      features: An array, or `jaxpart.features.extract.Features`, of any float dtype.
      padded: To how many rows zeros are added.

    Raises:
      JaxpartError: A feature is NaN or infinite.
    """
    items, channels = features.shape
    rows = np.zeros((max(items, padded), channels), np.float32)
    broken: list[int] = []
    step = max(1, _BLOCK_VALUES // channels)
    for start in range(0, items, step):
        some = rows[start : min(start + step, items)]
        some[:] = features[start : start + len(some)]
        finite = np.isfinite(some).all(axis=1)
        if not finite.all():
            broken += (start + np.flatnonzero(~finite)).tolist()
            continue
        some /= np.maximum(np.linalg.norm(some, axis=1, keepdims=True), _COSINE_EPSILON)
    if broken:
        raise JaxpartError(
            f"the feature of item {broken[0]} is NaN or infinite ({len(broken)} of {items} items); "
            f"look at its image and the encoder"
        )
    return rows


def symmetric_products(
    rows: Float32[np.ndarray, "items channels"], pool: concurrent.futures.Executor
) -> Float32[np.ndarray, "items items"]:
    """Inner products of all rows with all, each pair once: half the work of a matrix product."""
    items = len(rows)
    products = np.empty((items, items), np.float32)

    def fill(i: int, j: int) -> None:
        tile = products[i : i + _TILE, j : j + _TILE]
        np.matmul(rows[i : i + _TILE], rows[j : j + _TILE].T, out=tile)
        if i != j:
            products[j : j + _TILE, i : i + _TILE] = tile.T

    starts = range(0, items, _TILE)
    list(pool.map(fill, *zip(*((i, j) for i in starts for j in starts if j <= i), strict=True)))
    return products
