"""Sorting many short rows of integers at once, in NumPy.

NumPy sorts up to about 512 values by a network of vector instructions, several times faster per value
than longer rows, which it first has to cut by pivots. So a row is sorted in runs of that length, and
the runs are merged by Batcher's bitonic network, whose comparators are whole-array minima and maxima.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int32

_RUN = 512
"""Longest run that NumPy sorts by a network alone (x86-simd-sort, 32-bit values)."""


def width_for(columns: int) -> int:
    """Columns of the arrays that rows of a length are sorted in: it in whole runs of equal length."""
    runs = _runs(columns)
    return runs * -(-columns // runs)


def sort_rows(values: Int32[np.ndarray, "rows columns"]) -> Int32[np.ndarray, "rows columns"]:
    """Every row in ascending order.

    Args:
      values: As wide as `width_for` says; overwritten.
    """
    spare = np.empty_like(values)
    columns = values.shape[1]
    size = run = columns // _runs(columns)
    while True:
        # Every second sorted run is turned round, so that two of them rise and then fall. Sorting
        # complements does that without a reversed copy.
        turned = size < columns
        if turned:
            _invert_odd(values, size)
        half = size // 2
        while half >= run:
            left, right = values.reshape(-1, 2, half).swapaxes(0, 1)
            smaller, larger = spare.reshape(-1, 2, half).swapaxes(0, 1)
            np.minimum(left, right, out=smaller)
            np.maximum(left, right, out=larger)
            values, spare = spare, values
            half //= 2
        values.reshape(-1, run).sort(axis=1)
        if not turned:
            return values
        _invert_odd(values, size)
        size *= 2


def _runs(columns: int) -> int:
    """The smallest power of two that cuts a row into runs short enough."""
    return 1 << max(0, -(-columns // _RUN) - 1).bit_length()


def _invert_odd(values: Int32[np.ndarray, "rows columns"], size: int) -> None:
    odd = values.reshape(-1, 2, size)[:, 1]
    np.invert(odd, out=odd)
