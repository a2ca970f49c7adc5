"""Which adapters can be made into what: a line for each way to tune, and one for each task.

Merged weights can say what changes weights: all kinds of LoRA, (IA)³, trained tensors. They cannot say what stands
between the layers or before the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from postil.errors import ExportError
from postil.records import Method, Plan, Target, Task

ALL: frozenset[Target] = frozenset(get_args(Target))
_WHOLE: frozenset[Target] = frozenset(("merged", "gguf", "ollama"))  # a model of its own
_PEFT: frozenset[Target] = frozenset(("peft",))
_PAIRS = ALL - {"script"}  # two matrices a layer; the script is of plain LoRA

BY_METHOD: Mapping[Method, frozenset[Target]] = {
    "lora": ALL, "rslora": _PAIRS, "lora_plus": _PAIRS, "pissa": _PAIRS, "olora": _PAIRS, "eva": _PAIRS,
    "qlora": _PAIRS, "dora": _WHOLE | _PEFT, "ia3": _WHOLE | _PEFT, "full": _WHOLE, "partial": _WHOLE,
    "bottleneck": frozenset(), "prefix": _PEFT, "prompt": _PEFT, "p_tuning": _PEFT,
}  # fmt: skip
BY_TASK: Mapping[Task, frozenset[Target]] = {
    "causal_lm": ALL, "pretraining": ALL - {"script"}, "dpo": ALL - {"script"},
    **dict.fromkeys(("seq_cls", "token_cls", "seq_2_seq_lm"), frozenset(("merged", "peft"))),
}  # fmt: skip
# tasks whose models are of another class than plain language's, and those of them that no certificate is made for
BY_CLASS: frozenset[Task] = frozenset(("seq_cls", "token_cls", "seq_2_seq_lm"))
NOT_CHECKED: frozenset[Task] = frozenset(("seq_2_seq_lm",))


def check_possible(plan: Plan, to: Target) -> None:
    """Raises ExportError: `export_task`, `export_method` with what is possible, `export_stays` where nothing is."""
    by_task = BY_TASK[plan.task]
    if to not in by_task:
        raise ExportError("export_task", task=plan.task, to=to, possible=_words(by_task))
    possible = BY_METHOD[plan.method] & by_task
    if not possible:
        raise ExportError("export_stays", method=plan.method, to=to)
    if to not in possible:
        raise ExportError("export_method", method=plan.method, to=to, possible=_words(possible))


def possible(plan: Plan) -> list[Target]:
    """What an adapter of this plan can be made into, in the order in which the targets are told."""
    return [to for to in get_args(Target) if to in BY_METHOD[plan.method] & BY_TASK[plan.task]]


def _words(targets: frozenset[Target]) -> str:
    return ", ".join(to for to in get_args(Target) if to in targets)
