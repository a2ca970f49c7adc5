"""A plan becomes an adapter."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from postil.train.directory import (
    Told,
    examples_of,
    has_examples,
    prepare,
    read_adapter,
    read_run,
    read_unfinished,
    refuse_to_overwrite,
    time_left_out,
)  # fmt: skip
from postil.train.lock import in_use, refuse_while_in_use
from postil.train.trackers import order_trackers

if TYPE_CHECKING:
    from postil.train.checkpoint import whole
    from postil.train.work import keep, run

__all__ = [
    "Told", "examples_of", "has_examples", "in_use", "keep", "order_trackers", "prepare", "read_adapter", "read_run",
    "read_unfinished", "refuse_to_overwrite", "refuse_while_in_use", "run", "time_left_out", "whole",
]  # fmt: skip

_LATER = {"keep": "work", "run": "work", "whole": "checkpoint"}  # what needs torch is loaded by whoever trains


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
