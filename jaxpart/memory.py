"""The C library's memory, where JAX computes on the CPU."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""mallopt's names for its settings (malloc.h)."""


def keep_pages() -> None:
    """Keeps the memory of large temporary arrays for the next ones, up to 2 GiB of it.

    By default glibc hands them back to the kernel, which gives them out again page by page, each
    zeroed: a third of a training step (docs/performance.md). For whole programs, since it holds for all
    that runs in the process, and before they start threads, each of which may get an arena of its own
    that cannot grow above 64 MB. Without glibc: nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
