"""How much memory this process has used; how much memory and how many cores this machine has, or the container."""

from __future__ import annotations

import ctypes
import errno
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

GROUPS = Path("/sys/fs/cgroup")
HUGE = 1 << 21  # bytes of a huge page
COLLAPSE = 25  # MADV_COLLAPSE of <linux/mman.h>
ARENA_MAX = -8  # M_ARENA_MAX of <malloc.h>
SERVER_ARENAS = 2


def peak_bytes() -> int:
    """The most memory that this process has held so far, in bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":
        held = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text("ascii", "replace"), re.MULTILINE)
        if held:
            return int(held[1]) * 1024
    import resource

    # on Linux this begins at the size of the process that started this one: a server's jobs would all have its own
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


def total_and_free() -> tuple[int, int]:
    """The memory that we may use, and what of it is free, in bytes."""
    memory = psutil.virtual_memory()
    limit, used = group_memory(GROUPS)
    total = min(memory.total, limit or memory.total)
    return total, max(0, min(memory.available, total - used if limit else memory.available))


def group_memory(root: Path) -> tuple[int | None, int]:
    """The limit of a container [bytes, None without one] and what it uses. Reads cgroup v2, then v1."""
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit = _number(root / limit_file)
        if limit is not None and limit < 1 << 60:  # v1 says "no limit" by a huge number
            return limit, _number(root / used_file) or 0
    return None, 0


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text("ascii"))
    except (OSError, ValueError):
        return None


def group_cores(root: Path) -> float | None:
    """How many cores a container may use; None without a limit. Reads cgroup v2's cpu.max: "200000 100000" is 2."""
    try:
        quota, period = (root / "cpu.max").read_text("ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def usable_cores() -> int:
    """How many cores we may use."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if hasattr(psutil.Process, "cpu_affinity"):  # macOS has none
        cores = min(cores, len(psutil.Process().cpu_affinity() or [0]))
    limit = group_cores(GROUPS)
    return max(1, min(cores, int(limit)) if limit else cores)


def lie_in_huge_pages(spans: Sequence[range]) -> int:
    """Let what lies at these addresses be read by pages of 2 MiB where the system can do that (Linux 6.1 and later;
    madvise(2), MADV_COLLAPSE); how many such pages. It stays where it is, and as it is, and may have gone by then."""
    if sys.platform != "linux":
        return 0
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    pages = {page for span in spans for page in range(span.start // HUGE, -(-span.stop // HUGE))}
    return sum(madvise(page * HUGE, HUGE, COLLAPSE) == 0 for page in sorted(pages))


def give_back() -> None:
    """Let the system have what was freed: glibc keeps pieces of it for itself (malloc_trim(3))."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def share_arenas() -> None:
    """Let the threads that come allocate from a few pools in common (mallopt(3), M_ARENA_MAX).

    glibc gives each thread a pool of its own, up to eight for each core, and what one has freed serves no other: a
    server with forty worker threads grew by 1 to 6 MB in ten minutes of the same work (`benchmarks/RESULTS.md`, soak).
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(ARENA_MAX, SERVER_ARENAS)


NO_MEMORY = (
    "not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc",
)  # fmt: skip  # Windows, Linux, Apple


def lacks_memory(error: BaseException) -> bool:
    """Whether it says, in whatever words, that there was not enough memory."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error).lower() for words in NO_MEMORY)
