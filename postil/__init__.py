"""Postil (批注): teach an open model your words, formats and rules, by LoRA, on your own machine.

The verbs are `postil.flow`'s: `flow.check`, `flow.plan`, `flow.train`, `flow.evaluate`, `flow.answer`, ... (they are
not lifted to the top, since the rooms `postil.plan`, `postil.train` and `postil.evaluate` bear the same names). Names
are loaded when they are first used; importing this package loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from postil import flow
    from postil.errors import AdapterError, DataError, FileError, ModelError, PlanError, PostilError, TrainError
    from postil.flow import Comparison, Prepared, Reading
    from postil.records import Answer, Base, Dataset, Evaluation, Event, Example, Issue, Message, Plan, Repair, Verdict

__all__ = [
    "AdapterError", "Answer", "Base", "Comparison", "DataError", "Dataset", "Evaluation", "Event", "Example",
    "FileError", "Issue", "Message", "ModelError", "Plan", "PlanError", "PostilError", "Prepared", "Reading", "Repair",
    "TrainError", "Verdict", "__version__", "flow",
]  # fmt: skip

_PLACES = {
    "errors": ("AdapterError", "DataError", "FileError", "ModelError", "PlanError", "PostilError", "TrainError"),
    "flow": ("Comparison", "Prepared", "Reading"),
    "records": ("Answer", "Base", "Dataset", "Evaluation", "Event", "Example", "Issue", "Message", "Plan", "Repair",
                "Verdict"),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "flow":
        return import_module("postil.flow")
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"postil.{module}"), name)
    raise AttributeError(f"module 'postil' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
