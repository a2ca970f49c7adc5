"""Adapters on tiny bases, as the room of export is given them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from postil.export import Wanted
from postil.model.adapt import CONFIG, WEIGHTS, attach, config_bytes, to_bytes, weights_of
from postil.model.labelset import LABELLED, Labels, write_labels
from postil.model.load import load_planned
from postil.model.trust import fingerprint
from postil.records import Adapter, Event, Message, Target
from tests.models import plan, titles
from tests.serve.adapters import adapter

LABELS = ("O", "B-商品", "I-商品")


def given(base: Path, directory: Path, *, seed: int = 3, plan_values: dict[str, Any] | None = None, **config: Any
          ) -> Adapter:  # fmt: skip
    """A random adapter that PEFT has written."""
    made = adapter(base, directory, seed, **config)
    values = {"max_new_tokens": 8, **(plan_values or {})}
    return Adapter(made, "tiny", base, fingerprint(base), plan(**values))


def tuned(base: Path, directory: Path, method: str, *, seed: int = 3, size: float = 0.05, **values: Any) -> Adapter:
    """An adapter of one of our methods, moved at random from where it starts."""
    told = plan(method=method, max_new_tokens=8, **values)
    names = LABELS if told.task in LABELLED else ()
    adapted = attach(load_planned(base, told, names).model, told, str(base))
    random = torch.Generator().manual_seed(seed)
    weights = {name: tensor + size * torch.randn(tensor.shape, generator=random)
               for name, tensor in weights_of(adapted).items()}  # fmt: skip
    directory.mkdir()
    write_labels(directory, Labels(names, "O"))
    (directory / WEIGHTS).write_bytes(to_bytes(weights))
    (directory / CONFIG).write_bytes(config_bytes(adapted))
    return Adapter(directory, "tiny", base, fingerprint(base), told)


def asked(count: int = 3) -> list[tuple[Message, ...]]:
    """Questions with a system prompt."""
    return [example.question for example in titles(count)]


def wanted(to: Target, *, count: int = 3, **values: Any) -> Wanted:
    return Wanted(to, name="shop", questions=asked(count), **values)


def nothing(event: Event) -> None:
    """Hears what happens."""


def files(directory: Path) -> Sequence[str]:
    return sorted(str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file())
