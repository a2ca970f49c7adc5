"""The ways to tune a model, one file for each kind of tensor that is trained. `model/adapt.py` has their table."""

from __future__ import annotations

from typing import Any

from postil.model.heads import HEADS, head_modules
from postil.records import Plan


def for_peft(model: Any, plan: Plan, base: str) -> dict[str, Any]:
    """What every config of PEFT's is told: the base, the task, and the fresh head that is trained and kept whole."""
    head = HEADS[plan.task]
    told = {"task_type": head.peft, "base_model_name_or_path": base}
    return {**told, "modules_to_save": head_modules(model)} if head.fresh else told
