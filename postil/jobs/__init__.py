"""What is running, and where: a queue that nothing is lost from, and the watch over its workers.

Names are loaded when they are first used: a worker's first beat comes before everything that takes long to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postil.jobs.executor import Executor, InMemoryExecutor, RunSpec, RunState, Slot
    from postil.jobs.local import LocalExecutor
    from postil.jobs.losses import DRAWN, Losses, thinned
    from postil.jobs.migration import LeftOut, Mapped, Migration, migrate, read_description
    from postil.jobs.order import Order
    from postil.jobs.queue import Queue, model_name
    from postil.jobs.registry import register
    from postil.jobs.watch import Pace, Watch

__all__ = [
    "DRAWN", "Executor", "InMemoryExecutor", "LeftOut", "LocalExecutor", "Losses", "Mapped", "Migration", "Order",
    "Pace", "Queue", "RunSpec", "RunState", "Slot", "Watch", "migrate", "model_name", "read_description", "register",
    "thinned",
]  # fmt: skip

_PLACES = {
    "executor": ("Executor", "InMemoryExecutor", "RunSpec", "RunState", "Slot"),
    "local": ("LocalExecutor",),
    "losses": ("DRAWN", "Losses", "thinned"),
    "migration": ("LeftOut", "Mapped", "Migration", "migrate", "read_description"),
    "order": ("Order",),
    "queue": ("Queue", "model_name"),
    "registry": ("register",),
    "watch": ("Pace", "Watch"),
}


def __getattr__(name: str) -> Any:
    place = next((module for module, names in _PLACES.items() if name in names), None)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{place}"), name)
