"""Texts rewritten by an encoder and a decoder: translation, summaries, normalised addresses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from postil.model.rewriting import Sides, lay_out_sides, losses_of, start_id
from postil.model.template import Template, Tokens
from postil.model.tokenised import tokenised
from postil.records import Example, Plan

NO_PACKS = "an encoder reads its rows one by one"


class Seq2SeqLM:
    """Cross-entropy of the tokens of the targets and of their ends. Rows are padded and masked, never packed."""

    def __init__(self, model: Any, plan: Plan) -> None:
        self.model, self._plan = model, plan

    def sequences(
        self, examples: Sequence[Example], template: Template, among: Sequence[Example] = ()
    ) -> list[list[Tokens]]:
        return tokenised(examples, template, self._plan.max_length, task="seq_2_seq_lm")

    def weight(self, sequences: Sequence[Tokens]) -> float:
        return sum(sequence.learned for sequence in sequences)

    def why_not_packed(self, sequences: Sequence[Tokens], most_tokens: int) -> str | None:
        return NO_PACKS

    def batches(
        self, sequences: Sequence[Tokens], most_tokens: int, *, packed: bool, learning: bool
    ) -> Iterator[Sides]:
        found = lay_out_sides(sequences, most_tokens, start_id(self.model), self._plan.device)
        return (batch for _, batch in found)

    def sum(self, batch: Sides) -> tuple[torch.Tensor, torch.Tensor]:
        return (losses_of(self.model, batch) * batch.weights).sum(), batch.weights.sum()

    def graded(self, batch: Sides) -> torch.Tensor:
        """By the loss: rewriting has many right wordings."""
        with torch.no_grad():
            loss, weight = self.sum(batch)
        return torch.stack([loss, weight, torch.zeros_like(loss), torch.zeros_like(loss)])
