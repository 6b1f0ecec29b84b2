"""Cosine similarities on the host."""

from __future__ import annotations

import concurrent.futures

import numpy as np
from jaxtyping import Array, Float, Float32

from jaxpart.errors import JaxpartError

_COSINE_EPSILON = 1e-8
"""Smallest norm that a feature is divided by, as in `torch.nn.functional.cosine_similarity`."""

_TILE = 512
"""Rows of a square of products: it is mirrored while it is in a core's cache."""


def unit_rows(
    features: Float[Array | np.ndarray, "items channels"],
) -> Float32[np.ndarray, "items channels"]:
    """Features of length 1, whose products are cosines.

    Raises:
      JaxpartError: A feature is NaN or infinite.
    """
    rows = np.asarray(features, np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise JaxpartError(
            f"the feature of item {int(np.argmin(finite))} is NaN or infinite "
            f"({int((~finite).sum())} of {len(rows)} items); look at its image and the encoder"
        )
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norms, _COSINE_EPSILON)


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
