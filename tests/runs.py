"""Small runs of training: laid out in a directory, on a tiny model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from postil.model.trust import fingerprint
from postil.records import Base, Estimate, Example, Plan, Proposal, Shape, Split
from postil.train import prepare
from tests.models import plan, titles

ESTIMATE = Estimate((1.0, 2.0), 1, 1, (0.0, 0.0))
SHAPE = Shape(2, 32, 64, 4, 2, 8, 400, 2048)


def laid_out(
    directory: Path,
    base: Path,
    *,
    training: Sequence[Example] | None = None,
    validation: Sequence[Example] | None = None,
    force: bool = False,
    **values: Any,
) -> Plan:
    """Lay out a run of `values` in `directory` and return its plan."""
    chosen = plan(**{"n_epochs": 2, "batch_size": 4, "learning_rate": 3e-3, "save_steps": 7, **values})
    examples = titles(30)
    split = Split(
        tuple(examples[:24] if training is None else training),
        tuple(examples[24:] if validation is None else validation),
        (),
    )
    prepare(directory, Proposal(chosen, {}, ESTIMATE), Base("tiny", SHAPE, path=base), fingerprint(base), split,
            {"path": "titles.xlsx"}, force=force)  # fmt: skip
    return chosen


def adapter_hashes(directory: Path) -> dict[str, str]:
    """The SHA-256 of the two files of an adapter."""
    names = ("adapter_model.safetensors", "adapter_config.json")
    return {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in names}
