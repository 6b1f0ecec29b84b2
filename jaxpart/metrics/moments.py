"""Means and deviations by which columns are standardised."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def moments(
    values: Float[np.ndarray, "row column"],
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """Mean and population standard deviation of each column, the latter 1 for constant columns.

    A constant column may have a deviation above 0 by rounding, which must not divide anything.
    """
    deviation = values.std(axis=0)
    varies = (np.ptp(values, axis=0) > 0) & (deviation > 0)
    return values.mean(axis=0), np.where(varies, deviation, 1)
