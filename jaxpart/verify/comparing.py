"""Compares two arrays that should be equal."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

TOLERANCE = 1e-4
"""Largest absolute error of a correct float32 port with outputs of the order of 1."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference of an array from its reference.

    Attributes:
      stage: The stage of both, "block3".
      error: Largest absolute error; infinite if the shapes differ or a value is not finite, None if
        not compared.
      cosine: Smallest cosine similarity of two rows (all axes but the last), or None.
      scale: Root mean square of the reference, or None.
      note: A remark, or "".
    """

    stage: str
    error: float | None
    cosine: float | None = None
    scale: float | None = None
    note: str = ""

    @property
    def weight(self) -> float:
        """The error, relative to the reference's scale if that is below 1; 0 if not compared."""
        return 0.0 if self.error is None else self.error / min(self.scale or 1, 1)

    def departs(self, tolerance: float) -> bool:
        """Whether they were compared and differ.

        Args:
          tolerance: Largest error of equal arrays, see `weight`.
        """
        return not self.weight <= tolerance

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON, which has no infinity: it becomes text."""
        values = dataclasses.asdict(self)
        return values | {"error": "inf" if self.error == np.inf else self.error}


def compare(stage: str, reference: np.ndarray, ours: np.ndarray) -> Difference:
    """Compares two arrays in float64."""
    if reference.shape != ours.shape:
        shapes = f"shape {list(reference.shape)} in the reference, {list(ours.shape)} here"
        return Difference(stage, np.inf, note=shapes)
    a, b = reference.astype(np.float64), ours.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        where = "the reference" if not np.isfinite(a).all() else "the converted encoder"
        return Difference(stage, np.inf, note=f"{where} has values that are not finite")
    error = float(np.abs(a - b).max(initial=0))
    return Difference(
        stage, error, float(cosines(a, b).min(initial=1)), float(np.sqrt((a**2).mean()))
    )


def cosines(
    a: Float[np.ndarray, "*rows channel"], b: Float[np.ndarray, "*rows channel"]
) -> Float[np.ndarray, "*rows"]:
    """Cosine similarity of each pair of rows; 1 where both are zero, 0 where one is."""
    norms = np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)
    product = norms[0] * norms[1]
    both_zero = (norms[0] == 0) & (norms[1] == 0)
    return np.where(both_zero, 1, (a * b).sum(axis=-1) / np.where(product == 0, 1, product))
