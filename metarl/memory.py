"""Keeping memory that was freed, on a CPU under Linux.

The C library hands large blocks back to the kernel when they are freed, and the kernel fills fresh ones with zeros,
page by page. Maps of a batch of images are such blocks: getting them costs as much as computing them.
"""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's settings, from `malloc.h`."""
LARGEST = 2**30
"""Bytes of the largest block that is kept."""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees for its next allocations, from now on.

    The process holds its peak, up to 2 GiB of it unused, until it ends. Call it once, before the first large tensor.
    Results do not change.

    Returns:
        Whether it could be set: under glibc only.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST)) and bool(mallopt(TRIM_THRESHOLD, 2**31 - 1))
