"""Base and tuned on pieces that are to be marked in a text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from postil.model.entities import from_tags, read_entities, to_tags, units_of, write_entities
from postil.model.labelled import LEAST, LabelledPair, asked
from postil.model.reader import marked_text
from postil.model.sample import Sampling
from postil.records import Answer, Example, Message

NOTHING = "[]"


class TaggerPair(LabelledPair):
    """See `model/pair.py`. The base knows no tags: it marks nothing, and each tag is as likely to it as any other."""

    def answers(
        self,
        questions: Sequence[Sequence[Message]],
        *,
        tuned: bool,
        tell: Callable[[int], None] = lambda done: None,
        max_new_tokens: int | None = None,
    ) -> list[Answer]:
        """The pieces that are marked in each text, as `entities` writes them."""
        if not tuned:
            tell(len(questions))
            return [Answer(NOTHING, 0, True) for _ in questions]
        return self._answers(questions, asked(self._loaded, questions, tell=tell))

    def _answers(self, questions: Sequence[Sequence[Message]], told: Sequence[torch.Tensor]) -> list[Answer]:
        found = []
        for question, rows in zip(questions, told, strict=True):
            text = marked_text(question)
            tags = [self._labels.names[i] for i in rows.argmax(-1).tolist()] if len(rows) else []
            entities = from_tags(tags, units_of(text), text)
            found.append(Answer(write_entities(entities), len(tags), True))
        return found

    def stream(
        self, question: Sequence[Message], say: Callable[[str], None], *, tuned: bool, sample: bool = False,
        how: Sampling | None = None, max_new_tokens: int | None = None,
    ) -> Answer:  # fmt: skip
        """The pieces, given to `say` one a line."""
        answer = self.answers([question], tuned=tuned)[0]
        say("\n".join(f"{one.type}: {one.text}" for one in read_entities(answer.text) or ()))
        return answer

    def tried(
        self, examples: Sequence[Example], *, tuned: bool, tell: Callable[[int], None] = lambda done: None
    ) -> tuple[list[Answer], list[float]]:
        questions = [example.question for example in examples]
        if not tuned:
            return self.answers(questions, tuned=False, tell=tell), self.losses(examples, tuned=False)
        told = asked(self._loaded, questions, tell=tell)
        return self._answers(questions, told), self._losses(examples, told)

    def losses(self, examples: Sequence[Example], *, tuned: bool) -> list[float]:
        """Minus the log-probability of the right tags, in nats per unit of text."""
        if not tuned:
            return [math.log(len(self._labels.names))] * len(examples)
        told = asked(self._loaded, [example.question for example in examples], tell=lambda done: None)
        return self._losses(examples, told)

    def _losses(self, examples: Sequence[Example], told: Sequence[torch.Tensor]) -> list[float]:
        names = self._labels.names
        unknown = -math.log(LEAST)
        losses = []
        for example, rows in zip(examples, told, strict=True):
            tags = to_tags(read_entities(example.answer) or (), units_of(marked_text(example.question)))
            each = [
                -float(row[names.index(tag)]) if tag in names else unknown for tag, row in zip(tags, rows, strict=True)
            ]
            losses.append(sum(each) / max(1, len(each)))
        return losses
