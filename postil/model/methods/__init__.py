"""The ways to tune a model, one file for each kind of tensor that is trained. `model/adapt.py` has their table."""

from __future__ import annotations

from collections.abc import Mapping

from postil.records import Plan

TASK_TYPES: Mapping[str, str] = {
    "causal_lm": "CAUSAL_LM", "pretraining": "CAUSAL_LM", "dpo": "CAUSAL_LM", "seq_cls": "SEQ_CLS",
    "token_cls": "TOKEN_CLS", "seq_2_seq_lm": "SEQ_2_SEQ_LM",
}  # fmt: skip


def task_type(plan: Plan) -> str:
    """PEFT's word for the plan's task."""
    return TASK_TYPES[plan.task]
