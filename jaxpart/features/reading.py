"""Rows of features from files: random ones by several reads at a time, which a memory map does not do."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

_LEAST = 1 << 16
"""Bytes of a row from which on it is read from its file; smaller ones share the pages of a map."""

_THREADS = 8
_ROWS_AT_ONCE = 64


def take_rows(
    shards: Sequence[np.ndarray], number: Int[np.ndarray, " row"], row: Int[np.ndarray, " row"]
) -> np.ndarray:
    """Some rows of several arrays, which may be maps of files, as a new array [row, …].

    Args:
      shards: [row of the shard, …], of one shape and type but for their first axis.
      number: The shard of each row.
      row: Its index there.
    """
    found = np.empty((len(row), *shards[0].shape[1:]), shards[0].dtype)
    if found.nbytes < _LEAST * len(row):
        for i in np.unique(number):
            found[number == i] = shards[i][row[number == i]]
    else:
        read = functools.partial(_read, shards, found)
        list(_pool().map(read, _runs(number, row)))
    return found


def _runs(
    number: Int[np.ndarray, " row"], row: Int[np.ndarray, " row"]
) -> Iterator[tuple[int, int, Int[np.ndarray, " row"]]]:
    """Rows that follow each other in a shard: its number, the first one's index, and their places."""
    order = np.lexsort((row, number))
    breaks = (np.diff(number[order]) != 0) | (np.diff(row[order]) != 1)
    for places in np.split(order, np.flatnonzero(breaks) + 1):
        for start in range(0, len(places), _ROWS_AT_ONCE):
            some = places[start : start + _ROWS_AT_ONCE]
            yield int(number[some[0]]), int(row[some[0]]), some


def _read(
    shards: Sequence[np.ndarray],
    found: np.ndarray,
    run: tuple[int, int, Int[np.ndarray, " row"]],
) -> None:
    """Reads a run, each row to its place."""
    i, first, places = run
    shard = shards[i]
    if isinstance(shard, np.memmap) and shard.filename is not None:
        buffers = [found[place].reshape(-1).view(np.uint8).data for place in places.tolist()]
        size = found[0].nbytes
        # A file that another run has deleted is still in the map.
        with contextlib.suppress(OSError), open(shard.filename, "rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            wanted, offset = size * len(places), shard.offset + first * size
            if os.preadv(file.fileno(), buffers, offset) == wanted:
                return
    found[places] = shard[first : first + len(places)]


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(_THREADS)
