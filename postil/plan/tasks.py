"""What a model is to learn from these examples: a task is only decided where no other is possible, else suggested."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from postil.errors import DataError, PlanError
from postil.model.entities import read_entities
from postil.plan.kinds import CLOSED, COPIED, SHORT, form_of, units
from postil.records import Base, Example, Issue, Task

FEWEST_OF_A_LABEL = 3  # rows, on average, before a set of answers is called labels
MOST_LABELS = 60


@dataclass(frozen=True)
class Terms:
    """What a plan must know of a task.

    metric: the one that decides, None where the kind of data says which. labels: its answers are no words of its own.
    encoder: whether the base must have one, None where both will do. needs: what every example must have besides an
    answer. rate: times the usual learning rate. longest: tokens of a piece, where texts are cut, 0 where nothing is
    cut. new_tokens: of an answer, 0 where the data says.
    """

    metric: str | None = None
    labels: bool = False
    encoder: bool | None = None
    needs: Literal["question", "rejected"] | None = "question"
    rate: float = 1.0
    longest: int = 0
    new_tokens: int = 0


TERMS: Mapping[str, Terms] = {
    "causal_lm": Terms(encoder=False),
    "seq_cls": Terms("exact_match", labels=True, rate=2.0),
    "token_cls": Terms("entity_f1", labels=True, rate=2.0),
    "seq_2_seq_lm": Terms("rouge_l", encoder=True),
    "pretraining": Terms("loss", encoder=False, needs=None, longest=1024, new_tokens=96),
    "dpo": Terms("preferred", encoder=False, needs="rejected", rate=0.1),
}


def task_of(examples: Sequence[Example], base: Base) -> tuple[Task, str, Mapping[str, Any]]:
    """The task, with the code and the values of the reason."""
    if base.shape.encoder_layers:
        return "seq_2_seq_lm", "task_seq_2_seq_lm", {"base": base.name}
    if examples and all(example.rejected is not None for example in examples):
        return "dpo", "task_dpo", {}
    if examples and all(not example.question for example in examples):
        return "pretraining", "task_pretraining", {}
    if examples and _all_marked(examples):
        return "token_cls", "task_token_cls", {}
    return "causal_lm", "task_causal_lm", {}


def terms_of(task: str) -> Terms:
    """The terms of a task; those of any for one that is none, which the plan refuses."""
    return TERMS.get(task, Terms())


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
    form = form_of(examples)  # what is copied out of the text is no label: the next text may hold another
    if closed and max(map(units, answers)) <= SHORT and form.multi_turn == 0 and form.copied < COPIED:
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


def settled_task(examples: Sequence[Example], base: Base, given: Mapping[str, Any]) -> str:
    """The task that a plan of these examples will have. `given`: what the user or an earlier plan wants.

    Raises PlanError `task_needs_encoder`, `task_needs_decoder`; DataError `task_needs_rejected`, `task_needs_questions`
    with the rows that lack them.
    """
    task: str = given.get("task") or task_of(examples, base)[0]
    check_task(task, examples, base)
    return task


def check_task(task: str, examples: Sequence[Example], base: Base) -> None:
    """Refuse a task that this base or these examples cannot have; see `settled_task`."""
    encoder, wanted = base.shape.encoder_layers > 0, terms_of(task).encoder
    if wanted and not encoder:
        raise PlanError("task_needs_encoder", task=task, base=base.name)
    if wanted is False and encoder:
        raise PlanError("task_needs_decoder", task=task, base=base.name)
    check_rows(task, examples)


def check_rows(task: str, examples: Sequence[Example]) -> None:
    """Refuse examples that lack what a task is about: DataError `task_needs_rejected` or `task_needs_questions`."""
    needs = terms_of(task).needs
    if needs == "rejected" and (rows := _rows(example for example in examples if example.rejected is None)):
        raise DataError("task_needs_rejected", rows=rows, n=len(rows))
    if needs == "question" and (rows := _rows(example for example in examples if not example.question)):
        raise DataError("task_needs_questions", rows=rows, n=len(rows), task=task)


def longest(task: str, context: int, given: Mapping[str, Any] | None = None) -> int:
    """How long a sequence may be at most [tokens]: the base's context, or of a task that cuts its texts one piece."""
    piece = terms_of(task).longest
    return min(context, int((given or {}).get("max_length", piece))) if piece else context


def _rows(examples: Iterable[Example]) -> list[int]:
    return sorted({row for example in examples for row in example.rows})
