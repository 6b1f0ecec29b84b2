"""Cosine similarities on the host."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from jaxpart.errors import JaxpartError

_COSINE_EPSILON = 1e-8
"""Smallest norm that a feature is divided by, as in `torch.nn.functional.cosine_similarity`."""

_BLOCK_VALUES = 1 << 20
"""Of features, brought to length 1 at a time."""


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
            f"the feature of item {broken[0]} is NaN or infinite ({len(broken)} of {items} "
            "items); check its image and the encoder"
        )
    return rows
