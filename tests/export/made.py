"""Adapters on tiny bases, as the room of export is given them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from postil.export import Wanted
from postil.model.trust import fingerprint
from postil.records import Adapter, Event, Message, Target
from tests.models import plan, titles
from tests.serve.adapters import adapter


def given(base: Path, directory: Path, *, seed: int = 3, plan_values: dict[str, Any] | None = None, **config: Any
          ) -> Adapter:  # fmt: skip
    """A random adapter that PEFT has written."""
    made = adapter(base, directory, seed, **config)
    values = {"max_new_tokens": 8, **(plan_values or {})}
    return Adapter(made, "tiny", base, fingerprint(base), plan(**values))


def asked(count: int = 3) -> list[tuple[Message, ...]]:
    """Questions with a system prompt."""
    return [example.question for example in titles(count)]


def wanted(to: Target, *, count: int = 3, **values: Any) -> Wanted:
    return Wanted(to, name="shop", questions=asked(count), **values)


def nothing(event: Event) -> None:
    """Hears what happens."""


def files(directory: Path) -> Sequence[str]:
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file())
