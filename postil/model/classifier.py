"""Base and tuned on labels of whole texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from postil.model.constrained import Constrained
from postil.model.labelled import LEAST, LabelledPair, asked
from postil.model.load import Loaded
from postil.model.reader import Reader
from postil.model.sample import Sampling
from postil.records import Adapter, Answer, Example, Message

SHOWN = 5  # labels with their probabilities


class ClassifierPair(LabelledPair):
    """See `model/pair.py`. The base has no head for these labels: what it would say is in `model/constrained.py`."""

    def __init__(self, loaded: Loaded, adapter: Adapter) -> None:
        super().__init__(loaded, adapter)
        encoder = isinstance(loaded.template, Reader) and loaded.template.encoder
        self._base = None if encoder else Constrained(adapter, self._labels.names)

    def answers(
        self,
        questions: Sequence[Sequence[Message]],
        *,
        tuned: bool,
        tell: Callable[[int], None] = lambda done: None,
        max_new_tokens: int | None = None,
    ) -> list[Answer]:
        """The likeliest label of each question, and its rivals."""
        return [self._answer(row) for row in self.chances(questions, tuned=tuned, tell=tell)]

    def stream(
        self, question: Sequence[Message], say: Callable[[str], None], *, tuned: bool, sample: bool = False,
        how: Sampling | None = None, max_new_tokens: int | None = None,
    ) -> Answer:  # fmt: skip
        """The label, given to `say` with the probabilities of the likeliest ones. Nothing is ever drawn by chance."""
        answer = self.answers([question], tuned=tuned)[0]
        say("\n".join(f"{label}  {chance:.1%}" for label, chance in answer.chances))
        return answer

    def tried(
        self, examples: Sequence[Example], *, tuned: bool, tell: Callable[[int], None] = lambda done: None
    ) -> tuple[list[Answer], list[float]]:
        rows = self.chances([example.question for example in examples], tuned=tuned, tell=tell)
        return [self._answer(row) for row in rows], self._losses(examples, rows)

    def losses(self, examples: Sequence[Example], *, tuned: bool) -> list[float]:
        """Minus the log-probability of each example's label, in nats."""
        return self._losses(examples, self.chances([example.question for example in examples], tuned=tuned))

    def _losses(self, examples: Sequence[Example], rows: torch.Tensor) -> list[float]:
        names = self._labels.names
        wanted = [example.answer.strip() for example in examples]
        unknown = -math.log(LEAST)
        return [
            min(unknown, -float(row[names.index(label)])) if label in names else unknown
            for label, row in zip(wanted, rows, strict=True)
        ]

    def chances(
        self, questions: Sequence[Sequence[Message]], *, tuned: bool, tell: Callable[[int], None] = lambda done: None
    ) -> torch.Tensor:
        """Log-probabilities [questions, labels]."""
        if tuned:
            return torch.cat(asked(self._loaded, questions, tell=tell))
        if self._base is not None:
            return self._base.chances(questions, tell)
        tell(len(questions))
        names = self._labels.names
        certain = torch.full((len(names),), math.log(LEAST))
        certain[names.index(self._labels.majority)] = 0.0
        return certain.expand(len(questions), -1)

    def _answer(self, row: torch.Tensor) -> Answer:
        best = torch.topk(row, min(SHOWN, len(row)))
        names = self._labels.names
        chances = tuple(
            (names[i], math.exp(value)) for value, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )
        return Answer(chances[0][0], 1, True, chances)
