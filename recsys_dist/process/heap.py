"""How the heap of the C library keeps memory that is freed."""

from __future__ import annotations

import ctypes
import sys

# From malloc.h of glibc; see mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Have glibc keep large freed buffers for the next step, which asks for them again; elsewhere nothing changes.

    By default it returns them to the kernel, which hands out zeroed pages for the next step one fault at a time:
    most of a step's time where gradients are hundreds of megabytes. Call it before anything large is allocated.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, LARGEST)
