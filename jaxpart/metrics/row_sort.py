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


def sort_rows(values: Int32[np.ndarray, "rows columns"]) -> Int32[np.ndarray, "rows columns"]:
    """Every row in ascending order, as `np.sort(values, axis=1)`."""
    rows, columns = values.shape
    runs = 1
    while runs * _RUN < columns:
        runs *= 2
    if runs == 1:
        return np.sort(values, axis=1)
    run = -(-columns // runs)
    work = np.full((rows, runs * run), np.iinfo(np.int32).max, np.int32)
    work[:, :columns] = values
    other = np.empty_like(work)
    size = run
    while True:
        # Every second sorted run is turned round, so that two of them rise and then fall. Sorting
        # complements does that without a reversed copy.
        turned = size < runs * run
        if turned:
            _invert_odd(work, size)
        half = size // 2
        while half >= run:
            left, right = work.reshape(-1, 2, half).swapaxes(0, 1)
            smaller, larger = other.reshape(-1, 2, half).swapaxes(0, 1)
            np.minimum(left, right, out=smaller)
            np.maximum(left, right, out=larger)
            work, other = other, work
            half //= 2
        work.reshape(-1, run).sort(axis=1)
        if not turned:
            return work[:, :columns]
        _invert_odd(work, size)
        size *= 2


def _invert_odd(work: Int32[np.ndarray, "rows columns"], size: int) -> None:
    odd = work.reshape(-1, 2, size)[:, 1]
    np.invert(odd, out=odd)
