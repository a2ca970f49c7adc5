"""Base and tuned on labels of whole texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import torch

from postil.model.adapt import open_adapter
from postil.model.constrained import Constrained
from postil.model.labelling import MOST_TOKENS, lay_out, logits
from postil.model.labelset import Labels, read_labels
from postil.model.load import Loaded, load_planned
from postil.model.reader import Labelled, Reader
from postil.model.sample import Sampling
from postil.records import Adapter, Answer, Example, Message

SHOWN = 5  # labels with their probabilities
LEAST = 1e-9  # probability of a label that was never learned


def open_labelled(adapter: Adapter, labels: Labels) -> Loaded:
    """The base of an adapter with its head for labels, and the adapter on it."""
    plan = adapter.plan
    torch.set_num_threads(plan.threads)
    loaded = load_planned(adapter.base_path, plan, labels.names)
    loaded.model = open_adapter(loaded.model, adapter.path)
    return loaded


def asked(loaded: Loaded, questions: Sequence[Sequence[Message]], tell: Callable[[int], None]) -> list[torch.Tensor]:
    """Log-probabilities of the tuned model: for each question [places, labels]."""
    reader = loaded.template
    assert isinstance(reader, Reader)
    read = [Labelled(tuple(ids), tuple(places), ()) for ids, places in map(reader.read, questions)]
    found: list[torch.Tensor] = [torch.empty(0)] * len(read)
    done = 0
    with torch.inference_mode():
        for batch in lay_out([one for one in read if one.places], MOST_TOKENS, loaded.device, reader.padding):
            told = torch.log_softmax(logits(loaded.model, batch, reader), -1).cpu()
            whose = [i for i, one in enumerate(read) if one.places]
            for at, owner in enumerate(batch.owners):
                found[whose[owner]] = told[batch.rows.cpu() == at]
            done += len(batch.owners)
            tell(done)
    return found


class ClassifierPair:
    """See `model/pair.py`. The base has no head for these labels: what it would say is in `model/constrained.py`."""

    def __init__(self, loaded: Loaded, adapter: Adapter, labels: Labels) -> None:
        self._loaded, self._labels = loaded, labels
        reader = loaded.template
        self._base = None if isinstance(reader, Reader) and reader.encoder else Constrained(adapter, labels.names)

    @classmethod
    def open(cls, adapter: Adapter) -> Self:
        return cls.on(open_labelled(adapter, read_labels(adapter.path)), adapter)

    @classmethod
    def on(cls, loaded: Loaded, adapter: Adapter) -> Self:
        return cls(loaded, adapter, read_labels(adapter.path))

    def asks(self, example: Example) -> Example:
        return example

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

    def losses(self, examples: Sequence[Example], *, tuned: bool) -> list[float]:
        """Minus the log-probability of each example's label, in nats."""
        rows = self.chances([example.question for example in examples], tuned=tuned)
        names = self._labels.names
        wanted = [example.answer.strip() for example in examples]
        unknown = -math.log(LEAST)
        return [
            min(unknown, -float(row[names.index(label)])) if label in names else unknown
            for label, row in zip(wanted, rows, strict=True)
        ]

    def losses_of_texts(self, texts: Sequence[str], *, tuned: bool) -> None:
        """It continues no text."""
        return

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
