"""What a plan must know of each way to tune: how fast it learns, which tasks it can take, what does not go with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from postil.errors import PlanError
from postil.extras import has
from postil.records import Plan

TEXT = ("causal_lm", "pretraining", "dpo")
DECODER = (*TEXT, "seq_cls", "token_cls")
EVERY = (*DECODER, "seq_2_seq_lm")
MEASURED = "benchmarks/RESULTS.md"


@dataclass(frozen=True)
class Way:
    """rate: how many times LoRA's learning rate, by `source`. tasks: those that it can take. without: fields of the
    plan that must be off."""

    rate: float = 1.0
    source: str = ""
    tasks: tuple[str, ...] = EVERY
    without: tuple[str, ...] = ()


WAYS: Mapping[str, Way] = {
    "lora": Way(),
    "rslora": Way(0.35, "arXiv 2312.03732"),  # at rank 8 its scale is 2.8 times as large
    "dora": Way(),
    "lora_plus": Way(0.25, "arXiv 2402.12354"),  # of A; that of B is as much above LoRA's
    # These three begin in the base's strongest directions: at LoRA's own rate they forgot 2.5 to 6.3 nats a token of
    # everyday text (benchmarks, section methods), and learned no more.
    "pissa": Way(0.1, MEASURED, without=("weight_decay",)),
    "olora": Way(0.1, MEASURED, without=("weight_decay",)),
    "eva": Way(0.25, MEASURED, DECODER),
    "qlora": Way(tasks=TEXT),
    "full": Way(0.1, "Thinking Machines, LoRA Without Regret (2025)"),
    "partial": Way(0.1, "Thinking Machines, LoRA Without Regret (2025)"),
    "bottleneck": Way(),
    "ia3": Way(10.0, "arXiv 2205.05638"),
    "prefix": Way(10.0, "arXiv 2101.00190", TEXT, ("gradient_checkpointing",)),
    "prompt": Way(10.0, "arXiv 2104.08691", TEXT, ("gradient_checkpointing",)),
    "p_tuning": Way(3.0, "arXiv 2103.10385", TEXT, ("gradient_checkpointing",)),
}


def check_method(plan: Plan) -> None:
    """Refuse a plan whose method cannot be what the rest of it asks.

    Raises PlanError: method_task, method_without, no_four_bits.
    """
    way = WAYS[plan.method]
    if plan.task not in way.tasks:
        others = ", ".join(name for name, other in WAYS.items() if plan.task in other.tasks)
        raise PlanError("method_task", method=plan.method, task=plan.task, methods=others)
    values = plan.model_dump()
    for name in way.without:
        if values[name]:
            raise PlanError("method_without", method=plan.method, name=name, off=type(values[name])(0))
    if plan.method == "qlora" and (not has("bitsandbytes") or plan.device == "mps"):
        raise PlanError("no_four_bits")
