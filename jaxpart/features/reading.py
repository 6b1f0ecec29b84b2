"""Reads rows of features from files: random ones concurrently, which a memory map cannot do."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

_MIN_ROW_BYTES = 1 << 16
"""Smallest size in bytes at which a row is read from its file; smaller ones share pages of the map."""

_THREADS = 8
_ROWS_AT_ONCE = 64


def take_rows(
    shards: Sequence[np.ndarray], number: Int[np.ndarray, " row"], row: Int[np.ndarray, " row"]
) -> np.ndarray:
    """Some rows of several arrays, which may be memory maps, as a new array [row, …]."""
    rows = np.empty((len(row), *shards[0].shape[1:]), shards[0].dtype)
    if rows.nbytes < _MIN_ROW_BYTES * len(row):
        for i in np.unique(number):
            rows[number == i] = shards[i][row[number == i]]
    else:
        read = functools.partial(_read, shards, rows)
        list(_pool().map(read, _runs(number, row)))
    return rows


def _runs(
    number: Int[np.ndarray, " row"], row: Int[np.ndarray, " row"]
) -> Iterator[tuple[int, int, Int[np.ndarray, " row"]]]:
    """Runs of consecutive rows in a shard: its number, the first row's index, and their positions."""
    order = np.lexsort((row, number))
    breaks = (np.diff(number[order]) != 0) | (np.diff(row[order]) != 1)
    for positions in np.split(order, np.flatnonzero(breaks) + 1):
        for start in range(0, len(positions), _ROWS_AT_ONCE):
            run = positions[start : start + _ROWS_AT_ONCE]
            yield int(number[run[0]]), int(row[run[0]]), run


def _read(
    shards: Sequence[np.ndarray],
    rows: np.ndarray,
    run: tuple[int, int, Int[np.ndarray, " row"]],
) -> None:
    """Reads a run into its positions among the rows."""
    number, first, positions = run
    shard = shards[number]
    if isinstance(shard, np.memmap) and shard.filename is not None:
        buffers = [rows[i].reshape(-1).view(np.uint8).data for i in positions.tolist()]
        size = rows[0].nbytes
        # A file that another run has deleted is still mapped.
        with contextlib.suppress(OSError), open(shard.filename, "rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            expected, offset = size * len(positions), shard.offset + first * size
            if os.preadv(file.fileno(), buffers, offset) == expected:
                return
    rows[positions] = shard[first : first + len(positions)]


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(_THREADS)
