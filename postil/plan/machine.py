"""What this machine has, and what of it we may use: a container's limits count, not its host's."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from postil.records import Machine, Probe

_GROUPS = Path("/sys/fs/cgroup")


def machine(place: Path | None = None, probe: Probe | None = None) -> Machine:
    """The machine we run on. place: where results will be written; its disk is looked at.

    Nothing is asked of a GPU here: the probe, which needs a model library anyway, does that and tells of it.
    """
    import psutil

    memory = psutil.virtual_memory()
    limit, used = group_memory(_GROUPS)
    total = min(memory.total, limit or memory.total)
    free = min(memory.available, total - used if limit else memory.available)
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cores=_cores(),
        memory_bytes=total,
        free_bytes=max(0, free),
        disk_free_bytes=shutil.disk_usage(_existing(place or Path.cwd())).free,
        gpu=probe.gpu if probe else None,
        gpu_memory_bytes=probe.gpu_memory_bytes if probe else 0,
    )


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


def group_cores(root: Path) -> float | None:
    """How many cores a container may use; None without a limit. Reads cgroup v2's cpu.max: "200000 100000" is 2."""
    try:
        quota, period = (root / "cpu.max").read_text("ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _cores() -> int:
    import psutil

    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if hasattr(psutil.Process, "cpu_affinity"):  # macOS has none
        cores = min(cores, len(psutil.Process().cpu_affinity() or [0]))
    limit = group_cores(_GROUPS)
    return max(1, min(cores, int(limit)) if limit else cores)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _existing(place: Path) -> Path:
    """`place`, or the nearest folder above it that is there."""
    place = place.absolute()
    return next(folder for folder in (place, *place.parents) if folder.exists())
