"""Cosine similarities on the host."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from jaxpart.errors import JaxpartError

_COSINE_EPSILON = 1e-8
"""Lower limit of the norm, as in `torch.nn.functional.cosine_similarity`."""

_BLOCK_VALUES = 1 << 20
"""Number of values normalised at once."""


class Rows(Protocol):
    """Features `[items, channels]` that are read in slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[items, channels]."""

    def __getitem__(self, rows: slice) -> Any:
        """The features of some items."""


def unit_rows(features: Rows, *, padded: int = 0) -> Float32[np.ndarray, "items channels"]:
    """A copy of the features, normalised to length 1; needs only a few MB more.

    Rows of zeros pad it to `padded` rows.

    Raises:
      JaxpartError: A feature is NaN or infinite.
    """
    items, channels = features.shape
    rows = np.zeros((max(items, padded), channels), np.float32)
    bad: list[int] = []
    step = max(1, _BLOCK_VALUES // channels)
    for start in range(0, items, step):
        block = rows[start : min(start + step, items)]
        block[:] = features[start : start + len(block)]
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            bad += (start + np.flatnonzero(~finite)).tolist()
            continue
        block /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), _COSINE_EPSILON)
    if bad:
        raise JaxpartError(
            f"the feature of item {bad[0]} is NaN or infinite ({len(bad)} of {items} "
            "items); check its image and the encoder"
        )
    return rows
