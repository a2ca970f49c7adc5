"""(IA)³: keys, values and the inside of each feed-forward part are scaled by a vector. PEFT's; arXiv 2205.05638."""

from __future__ import annotations

from typing import Any

import torch
from peft import IA3Config, get_peft_model

from postil.errors import PlanError
from postil.model.layers import linear_names, targets
from postil.model.methods import for_peft
from postil.records import Plan

# names of layers that make keys or values, and of those that end the feed-forward part, in all families
KEYS = ("k_proj", "v_proj", "qkv_proj", "key", "value", "query_key_value", "c_attn", "k", "v", "Wqkv")
ENDS = ("down_proj", "fc2", "dense_4h_to_h", "wo", "w2", "c_proj")


def ia3(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    """On the layers of the paper, as far as `target_modules` includes them; names are taken as they are given."""
    groups = linear_names(model)
    named = plan.target_modules not in groups
    wanted = [name for name in targets(model, plan.target_modules) if named or name in (*KEYS, *ENDS)]
    if not wanted:
        raise PlanError("method_not_for_model", model=type(model).__name__)
    config = IA3Config(
        **for_peft(model, plan, base), target_modules=wanted,
        feedforward_modules=[name for name in wanted if name in groups["mlp-only"] and name in ENDS],
    )  # fmt: skip
    return get_peft_model(model, config, autocast_adapter_dtype=True)
