"""Which of two answers is preferred: direct preference optimisation (Rafailov and others, arXiv 2305.18290).

The loss of an example is -log sigmoid(beta * ((c - c0) - (r - r0))): c and r are the log-probabilities of the wanted
(chosen) and of the unwanted (rejected) answer, c0 and r0 the same of the reference, which is the model with its adapter
off. What the reference says is computed once, when the sequences are made: it depends on the data and the plan alone,
so that a run that is resumed computes the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional as F

from postil.model.adapt import METHODS
from postil.model.layout import Batch
from postil.model.loss import Loss, why_not_packed
from postil.model.preferences import Two, batches_of, log_probabilities, margins
from postil.model.template import Template
from postil.model.tokenised import tokenised
from postil.records import Example, Plan


@dataclass(frozen=True)
class Compared:
    """A batch of examples. reference: c0 - r0 of each of them, in nats: [examples]."""

    batch: Batch
    reference: torch.Tensor


class DPO:
    """See `Objective`. What counts in an update is an example, whatever the lengths of its answers."""

    def __init__(self, model: Any, plan: Plan) -> None:
        self.model, self._plan = model, plan
        self._loss = Loss(model)
        self.shares = plan.lora_dropout == 0 and METHODS[plan.method].shares

    def sequences(
        self, examples: Sequence[Example], template: Template, among: Sequence[Example] = ()
    ) -> list[list[Two]]:
        plan = self._plan
        found = tokenised(examples, template, plan.max_length, task="dpo")
        both = [Two(chosen, rejected) for chosen, rejected in found]
        training = self.model.training
        self.model.eval()
        with self.model.disable_adapter():
            packed = bool(both) and self.why_not_packed(both, plan.micro_batch_tokens, gradients=False) is None
            said = margins(
                self.model, both, plan.micro_batch_tokens, packed=packed, share=self.shares, device=plan.device
            )
        self.model.train(training)
        return [[replace(two, reference=reference)] for two, reference in zip(both, said, strict=True)]

    def weight(self, sequences: Sequence[Two]) -> float:
        return float(len(sequences))

    def why_not_packed(self, sequences: Sequence[Two], most_tokens: int, *, gradients: bool = True) -> str | None:
        rows = [sequence for two in sequences for sequence in (two.chosen, two.rejected)]
        return why_not_packed(self.model, rows, self._plan.device, most_tokens, gradients=gradients)

    def batches(
        self, sequences: Sequence[Two], most_tokens: int, *, packed: bool, learning: bool
    ) -> Iterator[Compared]:
        plan = self._plan
        for group, batch in batches_of(sequences, most_tokens, packed=packed, share=self.shares, device=plan.device):
            reference = [sequences[i].reference for i in group]
            ahead = torch.tensor([c - r for c, r in reference], dtype=torch.float32, device=plan.device)
            yield Compared(batch, ahead)

    def sum(self, batch: Compared) -> tuple[torch.Tensor, torch.Tensor]:
        examples = len(batch.reference)
        logs = log_probabilities(self._loss, batch.batch, 2 * examples).view(examples, 2)
        ahead = logs[:, 0] - logs[:, 1] - batch.reference
        summed = -F.logsigmoid(self._plan.dpo_beta * ahead).sum()
        return summed, summed.new_tensor(float(examples))

    def graded(self, batch: Compared) -> torch.Tensor:
        """By the loss: which of two answers is the likelier one hardly changes."""
        with torch.no_grad():
            loss, weight = self.sum(batch)
        return torch.stack([loss, weight, torch.zeros_like(loss), torch.zeros_like(loss)])
