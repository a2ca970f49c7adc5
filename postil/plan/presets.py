"""Ready-made answers to "what do I want today": values of a plan, rows that are held out. The data is presets.json."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from postil.errors import PlanError

SMALL = 100  # rows below which the parts of a split are shares only
LARGEST_PART = 250  # rows; beyond that a test gets no sharper, only slower
SMALLEST_PART = 20
FEWEST = 2


@dataclass(frozen=True, slots=True)
class Preset:
    """`plan`: values that replace the automatic ones. `split`: how many rows are held out."""

    name: str
    plan: Mapping[str, Any]
    split: Mapping[str, int] = field(default_factory=dict)


def presets() -> tuple[str, ...]:
    """The names of all presets."""
    return tuple(_all())


def preset(name: str | None) -> Preset | None:
    """The preset of that name; None for None. Raises PlanError unknown_preset."""
    if name is None:
        return None
    if name not in _all():
        close = difflib.get_close_matches(name, presets(), n=1)
        raise PlanError("unknown_preset", name=name, close=", ".join(close or presets()))
    return _all()[name]


def split_sizes(n: int, name: str | None = None, overrides: Mapping[str, Any] | None = None) -> tuple[int, int]:
    """How many of `n` examples are held out for (validation, test). At least two stay for training.

    Wishes win: `overrides` (validation_rows, test_rows), then the preset's sizes, which shrink with small data.
    """
    chosen = preset(name)
    asked = chosen.split if chosen else {}
    validation = min(asked["validation"], _part(n, 10)) if asked else _usual(n, 10)
    test = min(asked["test"], _part(n, 20)) if asked else _usual(n, 10 if n >= SMALL else 20)
    wished = overrides or {}
    validation = int(wished.get("validation_rows", validation))
    test = int(wished.get("test_rows", test))
    if validation + test > max(0, n - FEWEST):
        raise PlanError("held_out_too_many", n=n, validation=validation, test=test)
    return validation, test


def training_rows(name: str | None = None, overrides: Mapping[str, Any] | None = None) -> int:
    """At most how many examples are trained on; 0: all. A wish comes before the preset."""
    chosen = preset(name)
    usual = chosen.plan.get("training_rows", 0) if chosen else 0
    return int((overrides or {}).get("training_rows", usual))


def _usual(n: int, percent: int) -> int:
    if n < SMALL:
        return _part(n, percent)
    return min(max(_part(n, percent), SMALLEST_PART), LARGEST_PART)


def _part(n: int, percent: int) -> int:
    return max(FEWEST, round(n * percent / 100))


@cache
def _all() -> dict[str, Preset]:
    content = json.loads(Path(__file__).with_name("presets.json").read_text("utf-8"))
    return {name: Preset(name, entry["plan"], entry.get("split", {})) for name, entry in content.items()}
