"""What a model is to learn from these examples: a task is only decided where no other is possible, else suggested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from postil.records import Example, Task

# the one metric that decides, where it is the task and not the kind of data that says which
METRICS: Mapping[str, str] = {
    "seq_cls": "exact_match", "token_cls": "entity_f1", "seq_2_seq_lm": "rouge_l", "pretraining": "loss",
    "dpo": "preferred",
}  # fmt: skip


def task_of(examples: Sequence[Example]) -> tuple[Task, str, Mapping[str, Any]]:
    """The task, with the code and the values of the reason."""
    if examples and all(example.rejected is not None for example in examples):
        return "dpo", "task_dpo", {}
    if examples and all(not example.question for example in examples):
        return "pretraining", "task_pretraining", {}
    return "causal_lm", "task_causal_lm", {}


def metric_of(task: str) -> str | None:
    """The metric of the verdict that belongs to a task; None where the kind of data decides."""
    return METRICS.get(task)
