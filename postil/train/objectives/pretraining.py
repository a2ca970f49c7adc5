"""The next token of plain text: continued pre-training on documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from postil.model.layout import Batch, lay_out
from postil.model.template import Template, Tokens
from postil.model.tokenised import tokenised
from postil.records import Example
from postil.train.objectives.causal_lm import CausalLM


class Pretraining(CausalLM):
    """Cross-entropy of every token of a text and of its end; only the first one has nothing before it."""

    def sequences(
        self, examples: Sequence[Example], template: Template, among: Sequence[Example] = ()
    ) -> list[list[Tokens]]:
        return tokenised(examples, template, self._plan.max_length, task="pretraining")

    def weight(self, sequences: Sequence[Tokens]) -> float:
        return sum(sequence.learned for sequence in sequences)

    def batches(
        self, sequences: Sequence[Tokens], most_tokens: int, *, packed: bool, learning: bool
    ) -> Iterator[Batch]:
        found = lay_out(sequences, most_tokens, packed=packed, share=self.shares, device=self._plan.device)
        return (batch for _, batch in found)
