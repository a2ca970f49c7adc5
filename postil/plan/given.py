"""A plan that was decided before: that of an earlier run, or {field: value} written by hand. It is taken as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postil.errors import PlanError
from postil.plan.catalog import stated_sizes
from postil.plan.schema import check_settings
from postil.records import Plan

MOST_BYTES = 4 << 20
_OF_THE_DATA = ("system", "instruction")  # what the examples are made with, and so no matter of choice


@dataclass(frozen=True)
class Given:
    """`values`: fields of the plan, checked. The rest is what an earlier run was made with, where it is known."""

    values: Mapping[str, Any]
    base: str | None = None
    system: str | None = None
    instruction: str | None = None


def read_given(file: Path) -> Given:
    """The plan in `file`: a run's plan.json, what `postil plan --json` printed, or a bare {field: value}.

    Nothing is probed under a given plan, so that the learning rate is final: the one that the earlier run found, if
    its result lies beside the file. Raises PlanError: plan_unreadable, unknown_field, setting_*.
    """
    told = _read(file)
    run = "plan" in told
    values = told["plan"] if run else told
    if not isinstance(values, dict):
        raise PlanError("plan_unreadable", path=str(file))
    values = check_settings(values)
    if run and (rate := _found_rate(file)) is not None:
        values["learning_rate"] = rate
    values["learning_rate_probe"] = False
    made_with = values if not isinstance(told.get("data"), dict) else told["data"]
    return Given(
        {name: value for name, value in values.items() if name not in _OF_THE_DATA},
        _base(told.get("base")),
        made_with.get("system"),
        made_with.get("instruction"),
    )


def _base(told: Any) -> str | None:
    """The name of the base, if everybody knows it, else the directory where it lay."""
    if not isinstance(told, dict) or not isinstance(told.get("name"), str):
        return None
    known = told["name"] in stated_sizes()
    return str(told["name"] if known or not told.get("path") else told["path"])


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise PlanError("plan_unreadable", path=str(file))
        told = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as broken:
        raise PlanError("plan_unreadable", path=str(file)) from broken
    if not isinstance(told, dict):
        raise PlanError("plan_unreadable", path=str(file))
    return told


def _found_rate(file: Path) -> float | None:
    """The learning rate that the run of this plan has found, if it is finished."""
    try:
        found = json.loads(file.with_name("result.json").read_bytes())["learning_rate"]
        Plan(learning_rate=found)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return float(found)
