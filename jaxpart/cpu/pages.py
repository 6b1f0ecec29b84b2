"""The C library's memory, where JAX computes on the CPU."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
"""mallopt's names for its settings (malloc.h)."""

_HUGE_PAGES = 14
"""madvise's name for its advice (asm-generic/mman-common.h)."""

_ADVISED, _PAGE = 4 << 30, 2 << 20
"""Bytes that may lie in huge pages, and those of one."""


def keep_pages() -> None:
    """Keeps the memory of large temporary arrays for the next ones, in huge pages where there are any.

    By default glibc hands them back to the kernel, which gives them out again page by page, each
    zeroed: a third of a training step (docs/performance.md). For whole programs, since it holds for all
    that runs in the process, and before they start threads, each of which may get an arena of its own
    that cannot grow above 64 MB. Without glibc: nothing.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_ARENA_MAX, 1)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)  # never
    # The heap grows by a block that is freed untouched, so that advice can be given on it beforehand.
    libc.malloc.restype = ctypes.c_void_p
    block = libc.malloc(ctypes.c_size_t(_ADVISED))
    if block is not None:
        first = -(-block // _PAGE) * _PAGE
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(_ADVISED - _PAGE), _HUGE_PAGES)
        libc.free(ctypes.c_void_p(block))
