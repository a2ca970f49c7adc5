"""This job as a plain script of transformers and PEFT: the same rows, labels, order, start and steps, without Postil.

The rows are written down as the tokens and weights that were learned, so that nothing about the labels is left to
another program's template. The script does one row at a time what our loop does packed: the same numbers but for
rounding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from postil.errors import ExportError
from postil.model.adapt import CONFIG
from postil.model.own_texts import TEXTS_FILE, read_texts
from postil.model.template import Template
from postil.records import Adapter, Example
from postil.store import read_json

SOURCE = Path(__file__).with_name("plainscript.txt")
USED = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "bias",
    "n_epochs",
    "batch_size",
    "lr_scheduler",
    "warmup_ratio",
    "weight_decay",
    "max_grad_norm",
    "prompt_loss_weight",
    "evaluations_per_epoch",
    "patience",
    "seed",
    "metric",
    "kl_weight",
    "threads",
    "device",
    "dtype",
    "gradient_checkpointing",
)


def write_script(
    adapter: Adapter,
    template: Template,
    parts: Mapping[str, Sequence[Example]],
    result: Mapping[str, Any],
    directory: Path,
    reference: str,
) -> None:
    """train.py, plan.json and the rows. parts: the training and the validation examples of the run.

    Raises ExportError `script_no_rows` when the rows of the run are not here, `script_start` when it went on from
    another adapter, `script_dropout` when chance was in it that no other program has.
    """
    if not parts.get("training") or not result:
        raise ExportError("script_no_rows", path=str(adapter.path))
    if read_json(adapter.path / "plan.json").get("start"):
        raise ExportError("script_start", path=str(adapter.path))
    plan = adapter.plan
    if plan.lora_dropout:
        raise ExportError("script_dropout", dropout=plan.lora_dropout)
    told = {name: getattr(plan, name) for name in USED}
    told |= {
        "target_modules": read_json(adapter.path / CONFIG)["target_modules"],
        "learning_rate": result["learning_rate"],
        "base": reference,
        "expected": {
            "updates": result["updates"],
            "best_update": result["best_update"],
            "validation_loss": result["validation_loss"],
        },
    }
    (directory / "plan.json").write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", "utf-8")
    for part in ("training", "validation"):
        lines = (json.dumps(row, ensure_ascii=False) for row in _rows(parts.get(part, ()), template))
        (directory / f"{part}.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    if plan.kl_weight:
        texts = json.dumps(read_texts(adapter.path))
        (directory / TEXTS_FILE.name).write_text(f"{texts}\n", "utf-8")
    (directory / "train.py").write_text(SOURCE.read_text("utf-8"), "utf-8")
    (directory / "requirements.txt").write_text("torch\ntransformers>=5.3\npeft>=0.18\n", "utf-8")


def _rows(examples: Iterable[Example], template: Template) -> Iterable[dict[str, Any]]:
    """One line for each example: its dialogue to read, and the sequences that are learned."""
    for example in examples:
        sequences = [{"input_ids": list(s.ids), "weights": list(s.weights)} for s in template.sequences(example)]
        yield {"messages": example.as_json()["messages"], "sequences": sequences}
