"""Base and tuned from one base in memory: the adapter is switched off and on. One kind of pair for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self

from postil.model.chat import ChatPair
from postil.model.classifier import ClassifierPair
from postil.model.load import Loaded
from postil.model.pairs import PreferencePair, RewritingPair, TextPair
from postil.model.sample import Sampling
from postil.model.tagger import TaggerPair
from postil.records import Adapter, Answer, Example, Message

Tell = Callable[[int], None]


class Pair(Protocol):
    """One base model and one adapter on it. Every method takes `tuned`: with the adapter, or the untouched base."""

    def answers(
        self,
        questions: Sequence[Sequence[Message]],
        *,
        tuned: bool,
        tell: Tell = ...,
        max_new_tokens: int | None = None,
    ) -> list[Answer]:
        """Greedy answers to `questions` (all messages before the answer), in their order; `tell` hears how many."""
        ...

    def stream(
        self, question: Sequence[Message], say: Callable[[str], None], *, tuned: bool, sample: bool = False,
        how: Sampling | None = None, max_new_tokens: int | None = None,
    ) -> Answer:  # fmt: skip
        """One answer, given to `say` piece by piece; greedy, or sampled as the plan says, or as `how` does.

        What `say` raises ends the answer and is raised again. max_new_tokens: the plan's, if it is not said.
        """
        ...

    def asks(self, example: Example) -> Example:
        """The example as it is put to the model: what is asked, and what would be a right answer."""
        ...

    def tried(
        self, examples: Sequence[Example], *, tuned: bool, tell: Tell = ...
    ) -> tuple[list[Answer], list[float] | None]:
        """What `answers` and `losses` give for examples, in one go."""
        ...

    def losses(self, examples: Sequence[Example], *, tuned: bool) -> list[float] | None:
        """The mean loss of each example's answers, in nats per token; None where a task has no such loss."""
        ...

    def losses_of_texts(self, texts: Sequence[str], *, tuned: bool) -> list[float] | None:
        """The mean loss of each plain text, in nats per token; None where the tuned model continues no text."""
        ...


class Openable(Pair, Protocol):
    """A kind of pair: from an adapter's directory, or on a model in memory that has its adapter on it already."""

    @classmethod
    def open(cls, adapter: Adapter) -> Self: ...

    @classmethod
    def on(cls, loaded: Loaded, adapter: Adapter) -> Self: ...


PAIRS: Mapping[str, type[Openable]] = {
    "causal_lm": ChatPair,
    "seq_cls": ClassifierPair,
    "token_cls": TaggerPair,
    "seq_2_seq_lm": RewritingPair,
    "pretraining": TextPair,
    "dpo": PreferencePair,
}


def open_pair(adapter: Adapter) -> Pair:
    """Base and tuned of an adapter, as its task asks."""
    return PAIRS[adapter.plan.task].open(adapter)


def pair_on(loaded: Loaded, adapter: Adapter) -> Pair:
    """The same of a model that is in memory already, with its adapter on it."""
    return PAIRS[adapter.plan.task].on(loaded, adapter)
