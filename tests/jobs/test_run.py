"""The worker learns from the file as a person has put it right, and validates on the other file as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from postil.jobs.attempt import RUN, Desk
from postil.jobs.run import training
from postil.store import sha256
from tests.jobs.shop import SETTINGS, data

if TYPE_CHECKING:
    from tests.models import Build


def test_corrections_are_of_the_training_file_alone(base: Build, tmp_path: Path) -> None:
    inputs = {}
    for name, count in (("training", 30), ("validation", 12)):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(data(count))
        inputs[name] = {"path": str(path), "sha256": sha256(path)}
    reading = {"edits": {"1:messages.2.content": "换过的答案"}, "without": [2, 30]}
    spec = {"phase": "validate", "inputs": inputs, "base": str(base("llama3")), "reading": reading, "adapter": None,
            "seed": 7, "settings": {**SETTINGS, "test_rows": "0"}, "preset": None, "measure": False, "earlier": [],
            "learning_rate_multiplier": None}  # fmt: skip
    (tmp_path / "attempt").mkdir()
    told = training(spec, Desk(tmp_path / "attempt", 1, None))
    assert told["examples"] == {"training": 28, "validation": 12, "test": 0}
    run = tmp_path / "attempt" / RUN
    assert "换过的答案" in (run / "data" / "training.jsonl").read_text("utf-8")
    assert json.loads((run / "plan.json").read_text("utf-8"))["data"]["check"]["edited"] == 1
