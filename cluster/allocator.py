"""glibc's memory: kept by a process for the next picture or step, not given back and asked for anew each time."""

from __future__ import annotations

import ctypes
import os

# For processes that are started; what each is worth in a training: docs/train.md.
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**26),
}
ARENA_MAX, MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -8, -4, -1, -2  # glibc's malloc.h
MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """The same for this process, from here on, before it starts threads; nothing where the C library is another."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for name, value in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, MOST), (TOP_PAD, 2**26)):
            mallopt(name, value)
