"""Cosine similarities on the host."""

from __future__ import annotations

import numpy as np
import scipy.linalg.blas
from jaxtyping import Array, Float, Float32

from jaxpart.errors import JaxpartError

_COSINE_EPSILON = 1e-8
"""Smallest norm that a feature is divided by, as in `torch.nn.functional.cosine_similarity`."""

_TILE = 256
"""Rows that are mirrored at once: they stay in a core's cache."""


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


def lower_products(
    rows: Float32[np.ndarray, "items channels"],
) -> Float32[np.ndarray, "items items"]:
    """Inner products of all rows with those up to themselves: half the work, the other half is 0."""
    return scipy.linalg.blas.ssyrk(1.0, rows.T, trans=1).T


def complete(products: Float32[np.ndarray, "items items"], start: int, stop: int) -> None:
    """Fills in some rows of `lower_products` from the columns below them.

    Rows may be completed by several threads at once: nobody reads what another writes.
    """
    square = products[start:stop, start:stop]
    square += np.tril(square, -1).T
    for j in range(stop, len(products), _TILE):
        products[start:stop, j : j + _TILE] = products[j : j + _TILE, start:stop].T
