"""Which fields of a plan belong together, and which have an effect only with some methods or tasks: groups.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any


def groups() -> Mapping[str, Sequence[str]]:
    """Name of a group -> its fields. Each field of a plan stands in one."""
    found: Mapping[str, Sequence[str]] = _told()["groups"]
    return found


def matters(field: str, plan: Mapping[str, Any]) -> bool:
    """Whether a field has an effect in a plan with these values."""
    only: Mapping[str, Sequence[str]] = _told()["only_for"].get(field, {})
    return all(plan.get(other) in wanted for other, wanted in only.items())


@cache
def _told() -> Mapping[str, Any]:
    told: Mapping[str, Any] = json.loads(Path(__file__).with_name("groups.json").read_text("utf-8"))
    return told
