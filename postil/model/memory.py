"""How much memory this process has used."""

from __future__ import annotations

import errno
import sys

import psutil


def peak_bytes() -> int:
    """The most memory that this process has held so far, in bytes."""
    info = psutil.Process().memory_info()
    if sys.platform == "win32":
        return int(info.peak_wset)
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


NO_MEMORY = (
    "not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc",
)  # fmt: skip  # Windows, Linux, Apple


def lacks_memory(error: BaseException) -> bool:
    """Whether it says, in whatever words, that there was not enough memory."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error).lower() for words in NO_MEMORY)
