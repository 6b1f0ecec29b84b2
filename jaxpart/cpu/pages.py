"""Tunes the C library's allocator for JAX on CPUs."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""mallopt's parameters (malloc.h)."""


def keep_pages() -> None:
    """Reuses the memory of large temporary arrays.

    By default glibc returns it to the kernel, which hands it out again page by page, each zeroed: a
    third of a training step (docs/performance.md). Call it only in programs, since it affects the whole
    process, and before they start threads, each of which may get an arena of its own that cannot grow
    above 64 MB. Does nothing without glibc.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_ARENA_MAX, 1)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)  # never
