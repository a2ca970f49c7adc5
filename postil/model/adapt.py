"""An adapter beside a frozen base model: made, switched off and on, saved and read again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from postil.errors import AdapterError, PlanError
from postil.model.lowrank import FusedLinear
from postil.model.trust import check_directory
from postil.records import Plan

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
TASK_TYPES: Mapping[str, str] = {"seq_2_seq_lm": "SEQ_2_SEQ_LM"}  # PEFT's words for tasks that are not a chat


def linear_names(model: torch.nn.Module) -> dict[str, list[str]]:
    """The linear layers inside the blocks by their last name, in groups: all, mlp, attention. The head is in none."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    groups: dict[str, list[str]] = {"all-linear": [], "mlp-only": [], "attention-only": []}
    for path, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear) or layer is head:
            continue
        name = path.rsplit(".", 1)[-1]
        lower = path.lower()
        within = "attention-only" if "attn" in lower or "attention" in lower else "mlp-only"
        for group in ("all-linear", within):
            if name not in groups[group]:
                groups[group].append(name)
    return groups


def targets(model: torch.nn.Module, wanted: str) -> list[str]:
    """The layer names that `Plan.target_modules` means for this model.

    Raises PlanError when a name is none of the model's.
    """
    groups = linear_names(model)
    if wanted in groups:
        return sorted(groups[wanted])
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    unknown = [name for name in names if name not in groups["all-linear"]]
    if unknown or not names:
        raise PlanError("unknown_target", names=", ".join(unknown), known=", ".join(sorted(groups["all-linear"])))
    return sorted(set(names))


@dataclass(frozen=True)
class Method:
    """A way to tune. make: (model, plan, name of the base) -> the model with a fresh adapter on it, in PEFT's manner.

    shares: what rows begin with may be computed once for all of them; mixes: different adapters answer in one batch.
    """

    make: Callable[[torch.nn.Module, Plan, str], Any]
    shares: bool = True
    mixes: bool = False


def attach(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    """A fresh adapter on `model`, of the plan's method; its start depends on the plan's seed alone."""
    torch.manual_seed(plan.seed)
    return METHODS[plan.method].make(model, plan, base)


def _lora(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    config = LoraConfig(
        task_type=TASK_TYPES.get(plan.task, "CAUSAL_LM"),
        base_model_name_or_path=base,
        r=plan.r,
        lora_alpha=plan.lora_alpha,
        lora_dropout=plan.lora_dropout,
        target_modules=targets(model, plan.target_modules),
        bias=plan.bias,
    )
    config._register_custom_module({torch.nn.Linear: FusedLinear})
    return get_peft_model(model, config, autocast_adapter_dtype=True)


METHODS: Mapping[str, Method] = {"lora": Method(_lora, mixes=True)}


def open_adapter(model: Any, directory: Path) -> Any:
    """`model` with the adapter in `directory`, switched on.

    Raises AdapterError when the directory holds no adapter or one that does not fit the model.
    """
    if not (directory / CONFIG).exists() or not (directory / WEIGHTS).exists():
        raise AdapterError("not_an_adapter", path=str(directory))
    check_directory(directory)
    try:
        adapted = PeftModel.from_pretrained(model, str(directory), use_safetensors=True)
    except (ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise AdapterError("adapter_misfit", path=str(directory), reason=reason[0]) from error
    with safe_open(str(directory / WEIGHTS), "pt") as file:
        missing = set(get_peft_model_state_dict(adapted)) - set(file.keys())
    if missing:  # they would be random
        raise AdapterError("adapter_misfit", path=str(directory), reason=min(missing))
    adapted.eval()
    return adapted


def weights_of(adapted: Any) -> dict[str, torch.Tensor]:
    """Copies of the adapter's own tensors by PEFT's names, in the order of their names, on the CPU."""
    state = get_peft_model_state_dict(adapted)
    return {name: state[name].detach().to("cpu", copy=True).contiguous() for name in sorted(state)}


def put_weights(adapted: Any, weights: dict[str, torch.Tensor]) -> None:
    """Give the adapter these tensors, as `weights_of` returned them."""
    set_peft_model_state_dict(adapted, weights)


def to_bytes(tensors: dict[str, torch.Tensor]) -> bytes:
    """A safetensors file. One metadata key only: with two or more its bytes differ from process to process."""
    return save({name: tensors[name] for name in sorted(tensors)}, metadata={"format": "pt"})


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file."""
    return load_file(file)


def config_bytes(adapted: Any) -> bytes:
    """PEFT's adapter_config.json, with everything in a fixed order."""
    config = adapted.peft_config["default"].to_dict()
    config["inference_mode"] = True
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    return (json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True, default=str) + "\n").encode()
