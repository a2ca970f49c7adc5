"""Two small matrices beside each layer: LoRA and its kin, all of them PEFT's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from postil.model.heads import HEADS, linears_in_head
from postil.model.layers import targets
from postil.model.lowrank import FusedLinear
from postil.model.methods import for_peft
from postil.records import Plan

Make = Callable[[torch.nn.Module, Plan, str], Any]


def lora(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    """arXiv 2106.09685."""
    return low_rank(model, plan, base)


def rslora(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    """The same, scaled by alpha / sqrt(r): arXiv 2312.03732."""
    return low_rank(model, plan, base, use_rslora=True)


def dora(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    """The same for the direction of each weight, with its length beside it: arXiv 2402.09353."""
    return low_rank(model, plan, base, use_dora=True)


def qlora(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    """The same on a base whose linear layers are kept in four bits (`load_base`): arXiv 2305.14314."""
    return low_rank(model, plan, base, fused=False)


def low_rank(model: torch.nn.Module, plan: Plan, base: str, *, times: int = 1, fused: bool = True, **flags: Any) -> Any:
    """PEFT's LoRA of `times` the plan's rank, with what it adds weighed as at the plan's own rank."""
    config = LoraConfig(
        **for_peft(model, plan, base),
        r=times * plan.r,
        lora_alpha=times * plan.lora_alpha,
        lora_dropout=plan.lora_dropout,
        target_modules=targets(model, plan.target_modules),
        bias=plan.bias,
        exclude_modules=linears_in_head(model) if HEADS[plan.task].fresh else None,
        **flags,
    )
    if fused:
        config._register_custom_module({torch.nn.Linear: FusedLinear})
    return get_peft_model(model, config, autocast_adapter_dtype=True)


def plus_rate(name: str, plan: Plan) -> float:
    """LoRA+ (arXiv 2402.12354): B learns faster than A."""
    return plan.lora_plus_ratio if ".lora_B." in name else 1.0
