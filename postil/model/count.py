"""How long the data is in tokens of a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from postil.model.readings import READINGS, reading
from postil.model.template import Template, Tokens
from postil.model.tokenised import maker
from postil.records import Counts, Example, Split


def count(split: Split, template: Template, task: str = "causal_lm", max_length: int = 0) -> Counts:
    """Exact counts of a split, by the tokenizer. `max_length`: of one piece, where the task cuts its texts."""
    make = maker(template) if task not in READINGS else partial(_made, template, task, max_length)
    encoded = [make(example) for example in split.training]
    every = [s for part in (split.validation, split.test) for example in part for s in make(example)]
    own = [sequence for sequences in encoded for sequence in sequences]
    answers = [max(map(_answer, sequences)) for sequences in encoded if sequences]
    return Counts(
        n=len(split.training),
        tokens=sum(len(s.ids) for s in own),
        loss_tokens=sum(1 for s in own for weight in s.weights if weight),
        longest=max((s.length for s in (*own, *every)), default=0),
        longest_answer=max(answers, default=0),
        mean_answer=sum(answers) / max(1, len(answers)),
        validation=len(split.validation),
        test=len(split.test),
        shared=_shared(own),
    )


def _made(template: Template, task: str, max_length: int, example: Example) -> list[Tokens]:
    return reading(task)(example, template, max_length)[0]


def _shared(sequences: Sequence[Tokens]) -> int:
    """With how many tokens all of them begin."""
    if len(sequences) < 2:
        return 0
    first, last = min(s.ids for s in sequences), max(s.ids for s in sequences)  # what these two share, all do
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def _answer(sequence: Tokens) -> int:
    last = sequence.spans[-1]
    return last.end - last.start
