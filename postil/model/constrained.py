"""The untouched base on a task with labels: it has no head for them, so it says which of their names it would answer.

Each label is held against the question as an answer, with the end of the turn; the most likely one is the choice. The
names of the labels stand behind the question, so that the base knows what it may say. Where the base writes nothing
(an encoder), its answer is the most frequent label, for whatever is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from postil.model.attention import Unpackable
from postil.model.layout import lay_out
from postil.model.load import Loaded, load_base
from postil.model.loss import Loss, why_not_packed
from postil.model.template import Tokens
from postil.records import Adapter, Example, Message

MOST_TOKENS = 4096
MOST_NAMED = 60  # labels; more are not listed behind the question


class Constrained:
    """Log-probabilities of labels from the base itself, loaded when it is first asked."""

    def __init__(self, adapter: Adapter, labels: Sequence[str]) -> None:
        self._adapter, self._labels = adapter, list(labels)
        self._loaded: Loaded | None = None
        self._packs: bool | None = None  # whether the base takes packs; None: not found out yet
        self._known: dict[tuple[tuple[str, str], ...], torch.Tensor] = {}  # by roles and words

    def chances(self, questions: Sequence[Sequence[Message]], tell: Callable[[int], None]) -> torch.Tensor:
        """Log-probabilities [questions, labels], normalised over the labels."""
        found = []
        for done, question in enumerate(questions, 1):
            key = tuple((message.role, message.content) for message in question)
            if key not in self._known:
                self._known[key] = torch.log_softmax(torch.tensor(self._said(tuple(question))), -1)
            found.append(self._known[key])
            tell(done)
        return torch.stack(found)

    def _said(self, question: tuple[Message, ...]) -> list[float]:
        """The log-likelihood of each label as the answer."""
        loaded = self._base()
        asked = self._with_names(question)
        rows = [
            loaded.template.sequences(Example((*asked, Message("assistant", label)), ()))[-1] for label in self._labels
        ]
        rows = [_last_only(row) for row in rows]
        if self._packs is None:
            self._packs = why_not_packed(loaded.model, rows, loaded.device) is None
        try:
            return _sums(loaded, rows, packed=self._packs)
        except Unpackable:  # longer than any question before
            self._packs = False
            return _sums(loaded, rows, packed=False)

    def _base(self) -> Loaded:
        if self._loaded is None:
            plan = self._adapter.plan
            self._loaded = load_base(self._adapter.base_path, dtype=plan.dtype, device=plan.device,
                                     thinking=plan.thinking)  # fmt: skip
        return self._loaded

    def _with_names(self, question: tuple[Message, ...]) -> tuple[Message, ...]:
        if len(self._labels) > MOST_NAMED:
            return question
        last = max(i for i, message in enumerate(question) if message.role == "user")
        named = f"{question[last].content}\n\n{' / '.join(self._labels)}"
        return (*question[:last], Message("user", named), *question[last + 1 :])


def _sums(loaded: Loaded, rows: Sequence[Tokens], *, packed: bool) -> list[float]:
    """The log-likelihood of what counts in each row."""
    sums = [0.0] * len(rows)
    with torch.inference_mode():
        losses = Loss(loaded.model)
        for group, batch in lay_out(rows, MOST_TOKENS, packed=packed, device=loaded.device):
            each = losses.each(batch).double()
            for place, i in enumerate(group):
                sums[i] = -float(each[batch.owners == place].sum())
    return sums


def _last_only(row: Tokens) -> Tokens:
    """Only the last answer counts: earlier turns were said whatever the label is."""
    start = row.spans[-1].start
    return Tokens(row.ids, tuple(1.0 if at >= start else 0.0 for at in range(len(row.ids))), row.spans[-1:])
