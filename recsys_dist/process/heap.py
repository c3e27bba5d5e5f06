"""Reuse of freed memory by the heap of the C library."""

from __future__ import annotations

import ctypes
import sys

# From malloc.h of glibc; see mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc keep large freed buffers for reuse; has no effect with other C libraries.

    By default glibc returns them to the kernel, which then provides zeroed pages one page fault at a time. With
    gradients of hundreds of megabytes this takes most of a step. Call it before large allocations.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, LARGEST)


def return_freed_memory() -> None:
    """Give what is free in glibc's heap back to the kernel, once; has no effect with other C libraries.

    For a change of sizes: freed buffers that are slightly too small for the next ones would stay beside them.
    """
    if sys.platform.startswith("linux"):
        malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if malloc_trim is not None:
            malloc_trim(0)
