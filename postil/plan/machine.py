"""What this machine has, and what of it we may use: a container's limits count, not its host's."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from postil.records import Machine, Probe


def machine(place: Path | None = None, probe: Probe | None = None) -> Machine:
    """The machine we run on. place: where results will be written; its disk is looked at.

    Nothing is asked of a GPU here: the probe, which needs a model library anyway, does that and tells of it.
    """
    import psutil

    from postil.model.memory import total_and_free, usable_cores

    total, free = total_and_free()
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cores=usable_cores(),
        memory_bytes=total,
        free_bytes=free,
        disk_free_bytes=shutil.disk_usage(_existing(place or Path.cwd())).free,
        gpu=probe.gpu if probe else None,
        gpu_memory_bytes=probe.gpu_memory_bytes if probe else 0,
        load=psutil.getloadavg()[0],  # Windows has none of its own; psutil counts there
    )


def _existing(place: Path) -> Path:
    """`place`, or the nearest folder above it that is there."""
    place = place.absolute()
    return next(folder for folder in (place, *place.parents) if folder.exists())
