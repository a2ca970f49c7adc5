"""A wanted and an unwanted answer to the same question: two sequences that begin alike, each proven by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from postil.model.labels import Fault, examine
from postil.model.layout import Batch, by_length, pack, packs, pad
from postil.model.loss import Loss
from postil.model.template import Template, Tokens
from postil.records import Example


@dataclass(frozen=True, slots=True)
class Two:
    """Both sequences of an example. `reference`: their log-probabilities under the untouched base, in nats."""

    chosen: Tokens
    rejected: Tokens
    reference: tuple[float, float] = (0.0, 0.0)

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens of both, what they begin with counted once: what a pack of them holds."""
        shared = next((i for i, (a, b) in enumerate(zip(self.chosen.ids, self.rejected.ids, strict=False)) if a != b),
                      min(len(self.chosen.ids), len(self.rejected.ids)))  # fmt: skip
        return (*self.chosen.ids, *self.rejected.ids[shared:])


def sides(example: Example) -> tuple[Example, Example]:
    """The example with its wanted and with its unwanted answer, of which the last one alone counts."""
    last = len(example.question)
    before = tuple(replace(message, weight=0.0) for message in example.question)
    chosen = replace(example.messages[last], weight=1.0)
    rejected = replace(chosen, content=example.rejected or "", extra={})
    return replace(example, messages=(*before, chosen)), replace(example, messages=(*before, rejected))


def examine_both(example: Example, template: Template, max_length: int) -> tuple[list[Tokens], list[Fault]]:
    """[wanted, unwanted] and all that is wrong with them.

    Causes: those of an answer (`labels.prove`), and no_rejected: there is no unwanted answer.
    """
    if example.rejected is None:
        return [], [Fault("no_rejected", example.rows)]
    found = [examine(side, template, max_length) for side in sides(example)]
    faults = dict.fromkeys(fault for _, own in found for fault in own)
    return [sequence for sequences, _ in found for sequence in sequences], list(faults)


def batches_of(
    both: Sequence[Two], most_tokens: int, *, packed: bool, share: bool, device: str
) -> list[tuple[list[int], Batch]]:
    """Batches of at most `most_tokens` with the indices of their examples; owners 2i and 2i + 1 are the i-th's."""
    groups = packs(both, most_tokens, share=share) if packed else by_length(both, max(1, most_tokens // 2))
    made = []
    for group in groups:
        rows = [sequence for i in group for sequence in (both[i].chosen, both[i].rejected)]
        made.append((group, pack(rows, device=device, share=share) if packed else pad(rows, device=device)))
    return made


def log_probabilities(losses: Loss, batch: Batch, sequences: int) -> torch.Tensor:
    """The summed log-probability of each sequence of a batch, in nats, with its graph: [sequences]."""
    each = -losses.each(batch) * batch.weights
    return torch.zeros(sequences, dtype=each.dtype, device=each.device).index_add(0, batch.owners, each)


def margins(model: Any, both: Sequence[Two], most_tokens: int, *, packed: bool, share: bool, device: str) -> list[
    tuple[float, float]
]:  # fmt: skip
    """(wanted, unwanted) log-probability of each example as the model is now, without a graph."""
    found = [(0.0, 0.0)] * len(both)
    losses = Loss(model)
    with torch.inference_mode():
        for group, batch in batches_of(both, most_tokens, packed=packed, share=share, device=device):
            logs = log_probabilities(losses, batch, 2 * len(group)).double().tolist()
            for place, i in enumerate(group):
                found[i] = (logs[2 * place], logs[2 * place + 1])
    return found
