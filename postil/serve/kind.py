"""What kind of adapter lies in a directory: told by the files beside its weights, without loading any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from postil.errors import AdapterError
from postil.records import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from postil.store import read_json

CONFIG, WEIGHTS, PLAN = ADAPTER_CONFIG, ADAPTER_WEIGHTS, "plan.json"
Stamp = tuple[int, int]


@dataclass(frozen=True)
class Asked:
    """How the models of a task are asked. together: they write token after token as their base does, so that several
    can answer at once. plain: they read the words alone, without a dialogue around them. whole: their answer comes
    in one piece."""

    together: bool = False
    plain: bool = False
    whole: bool = False


TASKS: Mapping[str, Asked] = {
    "causal_lm": Asked(together=True),
    "dpo": Asked(together=True),
    "pretraining": Asked(together=True, plain=True),
    "seq_2_seq_lm": Asked(plain=True),
    "seq_cls": Asked(plain=True, whole=True),
    "token_cls": Asked(plain=True, whole=True),
}
OTHER_BASES = ("qlora",)  # methods whose matrices were trained beside other weights than the engine's

# what an adapter may have besides two matrices a layer; each changes what the base itself computes
_BEYOND = ("use_dora", "modules_to_save", "trainable_token_indices", "layer_replication", "alora_invocation_tokens",
           "lora_bias", "target_parameters", "fan_in_fan_out", "use_bdlora", "arrow_config")  # fmt: skip
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")


def kind_of(adapter: Path) -> Asked:
    """How the adapter in a directory is asked: by its task, and alone where it is more than two matrices a layer. Of a
    directory that holds none, whoever opens it says so."""
    return _kind(adapter, stamp(adapter / CONFIG), stamp(adapter / PLAN))


@lru_cache(maxsize=4096)
def _kind(adapter: Path, config: Stamp | None, plan: Stamp | None) -> Asked:
    if config is None:
        return TASKS["causal_lm"]
    told = plan_of(adapter) if plan else {}
    asked = asked_of(str(told.get("task", "causal_lm")))
    plainly = not beyond(_read(adapter / CONFIG)) and told.get("method") not in OTHER_BASES
    return replace(asked, together=asked.together and plainly)


def asked_of(task: str) -> Asked:
    """How the models of a task are asked. Raises AdapterError for one that a newer version may know."""
    if task not in TASKS:
        raise AdapterError("task_unknown", task=task[:60])
    return TASKS[task]


def plan_of(adapter: Path) -> Mapping[str, Any]:
    """The plan that lies beside an adapter; empty where it came without one. Raises AdapterError."""
    file = adapter / PLAN
    plan = _read(file).get("plan", {}) if file.exists() else {}
    if not isinstance(plan, dict):
        raise AdapterError("config_unreadable", file=file.name, path=str(adapter))
    return plan


def beyond(config: Mapping[str, Any]) -> list[str]:
    """What an adapter's config has besides two matrices a layer: with any of it, it cannot answer beside others."""
    starts = config.get("init_lora_weights")  # a damaged config may say anything: it is read in full when opened
    found = [name for name in _BEYOND if config.get(name)]
    if config.get("peft_type") != "LORA":
        found.append(str(config.get("peft_type")))
    if config.get("bias", "none") != "none":
        found.append("bias")
    if isinstance(starts, str) and starts.split("_")[0].lower() in _CHANGES_BASE:
        found.append(starts)
    return found


def stamp(file: Path) -> Stamp | None:
    """What changes when a file is written anew; None when it is not there."""
    try:
        told = file.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_size


def _read(file: Path) -> Mapping[str, Any]:
    try:
        told = read_json(file)
    except (OSError, ValueError, RecursionError) as broken:
        raise AdapterError("config_unreadable", file=file.name, path=str(file.parent)) from broken
    if not isinstance(told, dict):
        raise AdapterError("config_unreadable", file=file.name, path=str(file.parent))
    return told
