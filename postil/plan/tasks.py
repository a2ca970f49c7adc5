"""What a model is to learn from these examples: a task is only decided where no other is possible, else suggested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from postil.model.entities import read_entities
from postil.plan.kinds import CLOSED, SHORT, form_of, units
from postil.records import Example, Issue, Kind, Task

FEWEST_OF_A_LABEL = 3  # rows, on average, before a set of answers is called labels
MOST_LABELS = 60

# the one metric that decides, where it is the task and not the kind of data that says which
METRICS: Mapping[str, str] = {
    "seq_cls": "exact_match", "token_cls": "entity_f1", "seq_2_seq_lm": "rouge_l", "pretraining": "loss",
    "dpo": "preferred",
}  # fmt: skip

ONE_ANSWER = ("seq_cls", "token_cls")  # tasks that write no words of their own


def task_of(examples: Sequence[Example]) -> tuple[Task, str, Mapping[str, Any]]:
    """The task, with the code and the values of the reason."""
    if examples and all(example.rejected is not None for example in examples):
        return "dpo", "task_dpo", {}
    if examples and all(not example.question for example in examples):
        return "pretraining", "task_pretraining", {}
    if examples and _all_marked(examples):
        return "token_cls", "task_token_cls", {}
    return "causal_lm", "task_causal_lm", {}


def kind_of_task(task: str) -> Kind | None:
    """The kind of data that a task is always about; None where the data says it."""
    return "extraction" if task in ONE_ANSWER else None


def suggestions(task: str, examples: Sequence[Example], *, tagged: bool) -> tuple[Issue, ...]:
    """Other tasks that these examples would go well with, as advice. tagged: the answers mark pieces of the texts.

    The values hold the setting: {"task": ...}.
    """
    if task != "causal_lm" or len(examples) < 2 * FEWEST_OF_A_LABEL:
        return ()
    if tagged:
        return (Issue("could_be_token_cls", "advice", values={"task": "token_cls"}),)
    answers = {example.answer.strip() for example in examples}
    closed = 2 <= len(answers) <= min(MOST_LABELS, CLOSED * len(examples), len(examples) / FEWEST_OF_A_LABEL)
    if closed and max(map(units, answers)) <= SHORT and form_of(examples).multi_turn == 0:
        return (Issue("could_be_seq_cls", "advice", values={"task": "seq_cls", "labels": len(answers)}),)
    return ()


def _all_marked(examples: Sequence[Example]) -> bool:
    """Whether every answer is a list of marks in the form that `dataset` gives them, and some mark anything."""
    some = False
    for example in examples:
        found = read_entities(example.answer)
        if found is None:
            return False
        some = some or bool(found)
    return some


def metric_of(task: str) -> str | None:
    """The metric of the verdict that belongs to a task; None where the kind of data decides."""
    return METRICS.get(task)
