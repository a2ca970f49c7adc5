"""What kind of adapter lies in a directory: told by the files beside its weights, without loading any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from postil.errors import AdapterError
from postil.store import read_json

CONFIG, WEIGHTS, PLAN = "adapter_config.json", "adapter_model.safetensors", "plan.json"
Stamp = tuple[int, int]


@dataclass(frozen=True)
class Asked:
    """How the models of a task are asked. together: they write token after token as their base does, so that several
    can answer at once. plain: they go on with a text as it is, without a dialogue around it."""

    together: bool = False
    plain: bool = False


TASKS: Mapping[str, Asked] = {
    "causal_lm": Asked(together=True),
    "dpo": Asked(together=True),
    "pretraining": Asked(together=True, plain=True),
}
OTHER_BASES = ("qlora",)  # methods whose matrices were trained beside other weights than the engine's

# what an adapter may have besides two matrices a layer; each changes what the base itself computes
_BEYOND = ("use_dora", "modules_to_save", "trainable_token_indices", "layer_replication", "alora_invocation_tokens",
           "lora_bias", "target_parameters", "fan_in_fan_out", "use_bdlora", "arrow_config")  # fmt: skip
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")


@dataclass(frozen=True)
class Kind:
    """together: it can answer in one batch with others; plain: it is asked without a dialogue around the text."""

    together: bool = True
    plain: bool = False


def kind_of(adapter: Path) -> Kind:
    """The kind of the adapter in a directory; where nothing can be read of it, that of any other one."""
    return _kind(adapter, stamp(adapter / CONFIG), stamp(adapter / PLAN))


@lru_cache(maxsize=4096)
def _kind(adapter: Path, config: Stamp | None, plan: Stamp | None) -> Kind:
    if config is None:
        return Kind()
    told = plan_of(adapter) if plan else {}
    asked = TASKS.get(str(told.get("task", "causal_lm")), Asked())
    plainly = not beyond(_read(adapter / CONFIG)) and told.get("method") not in OTHER_BASES
    return Kind(asked.together and plainly, asked.plain)


def plan_of(adapter: Path) -> Mapping[str, Any]:
    """The plan that lies beside an adapter; empty where it came without one. Raises AdapterError."""
    file = adapter / PLAN
    plan: Mapping[str, Any] = _read(file).get("plan", {}) if file.exists() else {}
    return plan


def beyond(config: Mapping[str, Any]) -> list[str]:
    """What an adapter's config has besides two matrices a layer: with any of it, it cannot answer beside others."""
    starts = config.get("init_lora_weights")
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
