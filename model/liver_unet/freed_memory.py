"""What a patch leaves behind serves the next: by itself the C library hands large blocks back to
the kernel at once, and a fifth of a patch's time went into getting them anew, page by page."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

# Of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MOST_ARENAS = -1, -3, -8
_LARGEST_BYTES = 2**30


def keep_freed_memory() -> None:
    """From now on the process keeps what it frees, for whichever of its threads asks next.

    Only glibc can; elsewhere nothing changes.
    """
    if set_option := _of_the_c_library("mallopt"):
        set_option(_MMAP_THRESHOLD, _LARGEST_BYTES)
        set_option(_TRIM_THRESHOLD, _LARGEST_BYTES)
        # Threads with a heap of their own could not take what another has freed.
        set_option(_MOST_ARENAS, 1)


def give_back_freed_memory() -> None:
    """Hand what is free to the kernel."""
    if trim := _of_the_c_library("malloc_trim"):
        trim(ctypes.c_size_t(0))


def is_short_of_memory(error: Exception) -> bool:
    """Whether the machine, not a card, has none left; torch says so in words of its own."""
    return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def _of_the_c_library(function: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), function, None)
