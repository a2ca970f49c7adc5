"""What a run learns, one file for each task: how examples become sequences, and the loss of a batch of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch

from postil.model.template import Template
from postil.records import Example, Plan
from postil.train.objectives.causal_lm import CausalLM
from postil.train.objectives.dpo import DPO
from postil.train.objectives.pretraining import Pretraining
from postil.train.objectives.seq_2_seq_lm import Seq2SeqLM
from postil.train.objectives.seq_cls import SeqCls
from postil.train.objectives.token_cls import TokenCls


class Sequenced(Protocol):
    """What an example becomes: token ids, and whatever the objective keeps beside them."""

    @property
    def ids(self) -> Sequence[int]: ...


class Objective(Protocol):
    """The loss of one model on sequences of its own kind. `model` is the adapted one."""

    model: Any

    def sequences(
        self, examples: Sequence[Example], template: Template, among: Sequence[Example] = ()
    ) -> list[list[Any]]:
        """The proven sequences of each example. `among`: the whole set that they are part of.

        Raises DataError `labels_wrong` with all rows and causes when any would teach something wrong.
        """
        ...

    def weight(self, sequences: Sequence[Any]) -> float:
        """What the loss of an update is divided by: all that counts in it."""
        ...

    def why_not_packed(self, sequences: Sequence[Any], most_tokens: int) -> str | None:
        """Why this model cannot take packs, found out by a look at these sequences; None if it can."""
        ...

    def batches(self, sequences: Sequence[Any], most_tokens: int, *, packed: bool, learning: bool) -> Iterator[Any]:
        """`sequences` in batches of at most `most_tokens`; however they are laid out, their loss is the same.

        learning: for an update; else for a measurement, in which only what the task is about counts.
        """
        ...

    def sum(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Of a batch: the weighted sum of its losses in nats (a scalar with its graph), and the sum of the weights."""
        ...

    def graded(self, batch: Any) -> torch.Tensor:
        """Of a batch, without a graph: its weighted loss in nats, the sum of the weights, and of what the plan's metric
        counts how many are right and how many there are; 0 and 0 where the metric is a loss: [4]."""
        ...


OBJECTIVES: Mapping[str, Callable[[Any, Plan], Objective]] = {
    "causal_lm": CausalLM,
    "seq_cls": SeqCls,
    "token_cls": TokenCls,
    "seq_2_seq_lm": Seq2SeqLM,
    "pretraining": Pretraining,
    "dpo": DPO,
}


def objective(model: Any, plan: Plan) -> Objective:
    """The objective of the plan's task, for the adapted `model`."""
    return OBJECTIVES[plan.task](model, plan)
