"""An adapter beside a frozen base model: made, switched off and on, saved and read again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file

from postil.errors import AdapterError, PlanError
from postil.model.boundary import adapter_boundary, reason_of
from postil.model.methods import beside, bottleneck, lora, scaled, starts, virtual
from postil.model.trust import check_directory
from postil.records import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Plan

CONFIG, WEIGHTS = ADAPTER_CONFIG, ADAPTER_WEIGHTS
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
BESIDE = ("full", "partial", "bottleneck")  # methods whose adapters are ours and not PEFT's


def _one_rate(name: str, plan: Plan) -> float:
    return 1.0


@dataclass(frozen=True)
class Method:
    """A way to tune. make: (model, plan, name of the base) -> the model with a fresh adapter on it, in PEFT's manner.

    start: given the training rows' token ids once, before a run's first update. rate: of the parameter of that name,
    how many times the plan's learning rate it learns at. shares: what rows begin with may be computed once for all of
    them; four_bits: the base is kept in four bits; starts_as_base: before it has learned, the tuned model says exactly
    what the base says; frozen: the share of each trained tensor that stands still.
    """

    make: Callable[[torch.nn.Module, Plan, str], Any]
    start: Callable[[Any, Plan, Sequence[Sequence[int]]], None] | None = None
    rate: Callable[[str, Plan], float] = _one_rate
    shares: bool = True
    four_bits: bool = False
    starts_as_base: bool = True
    frozen: float = 0.0


METHODS: Mapping[str, Method] = {
    "lora": Method(lora.lora),
    "rslora": Method(lora.rslora),
    "dora": Method(lora.dora),
    "lora_plus": Method(lora.lora, rate=lora.plus_rate),
    "pissa": Method(starts.with_frozen_half, starts.pissa, starts_as_base=False, frozen=0.5),
    "olora": Method(starts.with_frozen_half, starts.olora, starts_as_base=False, frozen=0.5),
    "eva": Method(lora.lora, starts.eva),
    "qlora": Method(lora.qlora, four_bits=True),
    "full": Method(beside.full),
    "partial": Method(beside.partial),
    "bottleneck": Method(bottleneck.bottleneck),
    "ia3": Method(scaled.ia3),
    "prefix": Method(virtual.prefix, virtual.words_as_prefix, shares=False, starts_as_base=False),
    "prompt": Method(virtual.prompt, virtual.words_as_prompt, shares=False, starts_as_base=False),
    "p_tuning": Method(virtual.p_tuning, shares=False, starts_as_base=False),
}


def attach(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    """A fresh adapter on `model`, of the plan's method; its start depends on the plan's seed alone.

    Raises PlanError when the plan names parts that the model does not have, or the method is not for such a model.
    """
    torch.manual_seed(plan.seed)
    return METHODS[plan.method].make(model, plan, base)


def trained_parameters(adapted: Any, plan: Plan) -> int:
    """How many numbers are trained."""
    count: int = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    return round(count * (1 - METHODS[plan.method].frozen))


def open_adapter(model: Any, directory: Path) -> Any:
    """`model` with the adapter in `directory`, switched on.

    Raises AdapterError when the directory holds no adapter or one that does not fit the model.
    """
    if not (directory / CONFIG).exists() or not (directory / WEIGHTS).exists():
        raise AdapterError("not_an_adapter", path=str(directory))
    with adapter_boundary(directory):
        check_directory(directory)
        told = json.loads((directory / CONFIG).read_text("utf-8"))
        opened = _open_beside if beside.KIND in told else _open_peft
        try:
            adapted = opened(model, directory, told)
        except PlanError as error:
            raise AdapterError("adapter_misfit", path=str(directory), reason=reason_of(error)) from error
    adapted.requires_grad_(False)
    adapted.eval()
    return adapted


def _open_peft(model: Any, directory: Path, told: Mapping[str, Any]) -> Any:
    adapted = PeftModel.from_pretrained(model, str(directory), use_safetensors=True)
    with safe_open(str(directory / WEIGHTS), "pt") as file:
        missing = set(get_peft_model_state_dict(adapted)) - set(file.keys())
    if missing:  # they would be random
        raise ValueError(min(missing))
    return virtual.padded(adapted) if virtual.prepends(adapted) else adapted


def _open_beside(model: Any, directory: Path, told: Mapping[str, Any]) -> Any:
    fields = {name: told[name] for name in ("task", "trained_modules", "bottleneck")}
    plan = Plan(method=told[beside.KIND], **fields)
    if plan.method not in BESIDE:
        raise ValueError(plan.method)
    adapted = METHODS[plan.method].make(model, plan, str(told["base_model_name_or_path"]))
    adapted.put(read_tensors(directory / WEIGHTS))
    return adapted


def weights_of(adapted: Any, *, copy: bool = True) -> dict[str, torch.Tensor]:
    """Copies of the adapter's own tensors by the names of its file, in their order, on the CPU. Without `copy` they may
    be the tensors themselves, to be read at once."""
    state = _tensors(adapted)
    return {name: state[name].detach().to("cpu", copy=copy).contiguous() for name in sorted(state)}


def _tensors(adapted: Any) -> Mapping[str, torch.Tensor]:
    if isinstance(adapted, beside.Beside):
        return adapted.tensors()
    if virtual.prepends(adapted):
        return virtual.tensors(adapted)
    found: dict[str, torch.Tensor] = get_peft_model_state_dict(adapted)
    return found


def put_weights(adapted: Any, weights: dict[str, torch.Tensor]) -> None:
    """Give the adapter these tensors, as `weights_of` returned them."""
    if isinstance(adapted, beside.Beside):
        adapted.put(weights)
    elif virtual.prepends(adapted):
        virtual.put(adapted, weights)
    else:
        set_peft_model_state_dict(adapted, weights)


def to_bytes(tensors: dict[str, torch.Tensor]) -> bytes:
    """A safetensors file. One metadata key only: with two or more its bytes differ from process to process."""
    return save({name: tensors[name] for name in sorted(tensors)}, metadata={"format": "pt"})


def write_tensors(tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    """The same bytes at `file`, without holding them once more in memory. Not synced.

    Raises OSError for what the disk refuses; safetensors says that in words of its own.
    """
    try:
        save_file({name: tensors[name] for name in sorted(tensors)}, file, metadata={"format": "pt"})
    except SafetensorError as error:
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(file)) from error


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file."""
    return load_file(file)


def config_bytes(adapted: Any) -> bytes:
    """adapter_config.json, PEFT's where the adapter is, with everything in a fixed order."""
    if isinstance(adapted, beside.Beside):
        return adapted.config_bytes()
    config = adapted.peft_config["default"].to_dict()
    config["inference_mode"] = True
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    return (json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True, default=str) + "\n").encode()
