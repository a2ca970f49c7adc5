"""What this installation is like: versions against the tested set, memory, disk, base models, settings."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from postil import __version__
from postil import plan as room
from postil.locales import say
from postil.settings import Settings
from postil.store import open_places

LEAST_MEMORY = 3_000_000_000  # bytes: what the embedded model takes to train
LEAST_DISK = 2_000_000_000


def examine() -> dict[str, Any]:
    """`facts`, `settings`, `differences` from the tested set (harmless as a rule) and `problems`, as plain values."""
    machine = room.machine()
    here = [base.name for base in room.known(Settings().home) if base.path]
    problems = []
    if machine.memory_bytes < LEAST_MEMORY:
        problems.append(
            say("doctor.memory", have=f"{machine.memory_bytes / 1e9:.1f}", need=f"{LEAST_MEMORY / 1e9:.0f}")
        )
    if machine.disk_free_bytes < LEAST_DISK:
        problems.append(_short_of("disk", machine.disk_free_bytes, LEAST_DISK))
    problems += [say("doctor.open", path=place, command=command) for place, command in open_places().items()]
    return {
        "facts": {
            say("doctor.postil"): __version__,
            say("doctor.python"): f"{platform.python_version()} ({sys.executable})",
            say("doctor.system"): machine.system,
            say("doctor.cores"): machine.cores,
            say("doctor.load"): _load(machine.load, machine.cores),
            say("doctor.free_memory"): f"{machine.free_bytes / 1e9:.1f} / {machine.memory_bytes / 1e9:.1f} GB",
            say("doctor.free_disk"): f"{machine.disk_free_bytes / 1e9:.1f} GB",
            say("doctor.models"): ", ".join(here) or "-",
        },
        "settings": Settings().as_json(),
        "differences": _differences(),
        "problems": problems,
    }


def _load(load: float, cores: int) -> str:
    """How busy the machine is, and what that means: with twice as many programs as cores each has half of one."""
    state = "busy" if load >= cores else "free"
    return say(f"doctor.load_{state}", load=f"{load:.1f}", cores=cores, times=f"{1 + load / cores:.1f}")


def _short_of(what: str, have: int, need: int) -> str:
    return say(f"doctor.{what}", have=f"{have / 1e9:.1f}", need=f"{need / 1e9:.0f}")


def _differences() -> list[str]:
    """Packages of other versions than those that were tested together."""
    found = []
    for name, tested in _tested().items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if installed.partition("+")[0] != tested:
            found.append(say("doctor.differs", name=name, installed=installed, tested=tested))
    return found


def _tested() -> dict[str, str]:
    places = (Path(__file__).parents[1] / "constraints.txt", Path(sys.prefix) / "share" / "postil" / "constraints.txt")
    text = next((place.read_text("utf-8") for place in places if place.is_file()), "")
    pairs = (line.split("==") for line in text.splitlines() if "==" in line and not line.startswith("#"))
    return {name.strip(): tested.split("#")[0].strip() for name, tested in pairs}
