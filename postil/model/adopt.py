"""An adapter that another program made becomes a directory like our own runs write: plain, and safe to open.

LLaMA-Factory, ms-swift, Unsloth, Axolotl and TRL all save PEFT's two files; beside them lie states of optimizers,
pickled arguments and copies of the base's config, which are left where they are. What PEFT's config says that this
PEFT does not know is left out and told.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from peft import LoraConfig

from postil import __version__
from postil.errors import AdapterError
from postil.model.adapt import CONFIG, WEIGHTS
from postil.model.boundary import adapter_boundary
from postil.model.load import load_template
from postil.model.tensors import read_header
from postil.model.trust import check_directory
from postil.records import Base, Plan
from postil.store import read_json, sha256, write_json, write_text

PARTS = ("training", "validation", "test")
PICKLED = "adapter_model.bin"
_LAYER = re.compile(r"base_model\.model\.(?P<layer>.+?)\.lora_[A-Za-z]+")
_NARROWING = ("layers_to_transform", "layers_pattern", "exclude_modules")
_QUANTISED = re.compile(r"-(unsloth-)?bnb-4bit\Z|-(gptq|awq|int4|int8|4bit|8bit)\b.*\Z", re.IGNORECASE)
_NO_ESTIMATE = {"seconds": [0.0, 0.0], "memory_bytes": 0, "disk_bytes": 0, "cost": [0.0, 0.0], "currency": "CNY",
                "updates": 0, "tokens": 0}  # fmt: skip


@dataclass(frozen=True)
class Adopted:
    """What was found. unknown: keys of its config that this PEFT does not know, with their values."""

    base: str | None
    unknown: Mapping[str, Any]
    plan: Plan


def named_base(directory: Path) -> list[str]:
    """How its config names the base that it was trained on, the likeliest first: a repository, or a directory."""
    told = _config(directory).get("base_model_name_or_path")
    if not isinstance(told, str) or not told:
        return []
    last = told.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1]
    plain = _QUANTISED.sub("", last)  # trained on a quantised copy: the base itself is what it belongs to
    return list(dict.fromkeys([told, last, last.lower(), plain, plain.lower()]))


def adopt(directory: Path, base: Base, base_sha256: str, made: Path) -> Adopted:
    """Write the adapter in `directory` into the empty directory `made`, as a finished run without rows.

    Raises AdapterError: `not_an_adapter`, `adapter_pickled`, and what `trust` and `boundary` refuse.
    """
    with adapter_boundary(directory):
        return _adopt(directory, base, base_sha256, made)


def _adopt(directory: Path, base: Base, base_sha256: str, made: Path) -> Adopted:
    assert base.path is not None
    if not (directory / WEIGHTS).is_file():
        pickled = (directory / PICKLED).is_file()
        raise AdapterError("adapter_pickled" if pickled else "not_an_adapter", path=str(directory))
    shutil.copyfile(directory / WEIGHTS, made / WEIGHTS)
    config = _config(directory)
    known = {field.name for field in fields(LoraConfig)} | {"peft_type", "auto_mapping", "peft_version"}
    unknown = {key: value for key, value in sorted(config.items()) if key not in known}
    kept = {key: value for key, value in config.items() if key in known}
    write_json(made / CONFIG, {**kept, "base_model_name_or_path": str(base.path), "inference_mode": True})
    check_directory(made)
    layers = _layers(made)
    if isinstance(kept.get("target_modules"), str) or any(kept.get(name) for name in _NARROWING):
        plain = {**kept, **dict.fromkeys(_NARROWING), "target_modules": layers}  # no expression out of a file is run
        write_json(made / CONFIG, {**plain, "base_model_name_or_path": str(base.path), "inference_mode": True})
    load_template(base.path).tokenizer.save_pretrained(str(made))
    plan = _plan(kept, layers, base)
    _write_run(made, directory, base, base_sha256, plan, unknown)
    return Adopted(config.get("base_model_name_or_path"), unknown, plan)


def _config(directory: Path) -> dict[str, Any]:
    try:
        told = read_json(directory / CONFIG)
    except (OSError, ValueError, RecursionError) as broken:
        raise AdapterError("config_unreadable", file=CONFIG, path=str(directory)) from broken
    if not isinstance(told, dict):
        raise AdapterError("config_unreadable", file=CONFIG, path=str(directory))
    return told


def _layers(made: Path) -> list[str]:
    """The layers that it adapts, by their whole names."""
    names = (_LAYER.match(name) for name in read_header(made / WEIGHTS, AdapterError).tensors)
    return sorted({found["layer"] for found in names if found})


def _plan(config: Mapping[str, Any], layers: Sequence[str], base: Base) -> Plan:
    """What can be known of how it was trained."""
    rank, alpha = config.get("r"), config.get("lora_alpha")
    names = sorted({layer.rsplit(".", 1)[-1] for layer in layers})
    return Plan(
        r=rank if isinstance(rank, int) else 8, lora_alpha=float(alpha) if isinstance(alpha, int | float) else 16.0,
        target_modules=",".join(names) or "all-linear", max_length=min(base.shape.context, 1 << 20),
        learning_rate_probe=False,
    )  # fmt: skip


def _write_run(made: Path, source: Path, base: Base, base_sha256: str, plan: Plan, unknown: Mapping[str, Any]) -> None:
    for part in PARTS:
        write_text(made / "data" / f"{part}.jsonl", "")
    hashes = {part: sha256(made / "data" / f"{part}.jsonl") for part in PARTS}
    told = {
        "postil": __version__, "plan": plan.model_dump(), "reasons": {}, "kind": plan.kind, "estimate": _NO_ESTIMATE,
        "base": {"name": base.name, "path": str(base.path), "sha256": base_sha256, "source": base.source,
                 "licence": base.licence},
        "data": {"path": "", "sha256": "", "system": None, "instruction": None, "columns": {}, "column_names": {},
                 **hashes},
        "imported": {"from": str(source.resolve()), "unknown": json.loads(json.dumps(unknown, default=str))},
    }  # fmt: skip
    write_json(made / "plan.json", told)
