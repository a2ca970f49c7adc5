"""How much memory this process has used."""

from __future__ import annotations

import sys

import psutil


def peak_bytes() -> int:
    """The most memory that this process has held so far, in bytes."""
    info = psutil.Process().memory_info()
    if sys.platform == "win32":
        return int(info.peak_wset)
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
