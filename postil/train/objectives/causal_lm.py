"""The next token of the answers: what LoRA is mostly used for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from postil.model.adapt import METHODS
from postil.model.layout import Batch, lay_out, weight_of
from postil.model.loss import Loss, why_not_packed
from postil.model.template import Template, Tokens
from postil.model.tokenised import tokenised
from postil.records import Example, Plan


class CausalLM:
    """Cross-entropy of the tokens of the answers and of their ends."""

    def __init__(self, model: Any, plan: Plan) -> None:
        self.model, self._plan = model, plan
        self._loss = Loss(model)
        # Whether what rows begin with is computed once for all of them; dropout must differ from row to row.
        self.shares = plan.lora_dropout == 0 and METHODS[plan.method].shares

    def sequences(
        self, examples: Sequence[Example], template: Template, among: Sequence[Example] = ()
    ) -> list[list[Tokens]]:
        return tokenised(examples, template, self._plan.max_length, among)

    def weight(self, sequences: Sequence[Tokens]) -> float:
        return sum(weight_of(sequence, self._plan.prompt_loss_weight) for sequence in sequences)

    def why_not_packed(self, sequences: Sequence[Tokens], most_tokens: int) -> str | None:
        return why_not_packed(self.model, sequences, self._plan.device, most_tokens, gradients=True)

    def batches(
        self, sequences: Sequence[Tokens], most_tokens: int, *, packed: bool, learning: bool
    ) -> Iterator[Batch]:
        found = lay_out(
            sequences,
            most_tokens,
            packed=packed,
            share=self.shares,
            prompt_weight=self._plan.prompt_loss_weight if learning else 0.0,
            device=self._plan.device,
        )
        return (batch for _, batch in found)

    def sum(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return self._loss.sum(batch), batch.weights.sum()

    def graded(self, batch: Batch) -> torch.Tensor:
        """An answer counts where the metric wants it exactly, else each of its tokens."""
        losses, likeliest = self._loss.read(batch)
        sums = [(losses * batch.weights).sum(), batch.weights.sum()]
        if self._plan.metric == "loss":
            return torch.stack([*sums, losses.new_zeros(()), losses.new_zeros(())])
        if self._plan.metric == "exact_match":
            answers, owners = torch.unique(batch.owners, return_inverse=True)
            misses = torch.zeros(len(answers), device=losses.device).index_add(0, owners, (~likeliest).float())
            likeliest = misses == 0
        return torch.stack([*sums, likeliest.float().sum(), losses.new_tensor(float(len(likeliest)))])
