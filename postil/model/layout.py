"""Sequences become the tensors of one forward pass.

Sequences are padded on the right. Attention is causal, so that no real token ever sees the padding: no mask is needed,
and padding is never looked for by comparing ids. What all sequences of a batch begin with (the system prompt, a fixed
instruction) can be read once for all of them: its keys and values are then handed to each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from postil.model.template import Tokens

FEWEST_SHARED = 16  # tokens; a shorter beginning is not worth a pass of its own


@dataclass(frozen=True)
class Batch:
    """ids: [rows, length]. The R predictions that count: made at (`rows`, `places`), of `targets`."""

    ids: torch.Tensor
    prefix: torch.Tensor | None  # [1, length]: what stands before each row of `ids`, if they share it
    rows: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


def by_length(sequences: Sequence[Tokens], most_tokens: int) -> list[list[int]]:
    """Indices of `sequences` in groups of like length, none above `most_tokens` tokens with its padding."""
    groups: list[list[int]] = []
    for i in sorted(range(len(sequences)), key=lambda i: (len(sequences[i].ids), i)):
        length = len(sequences[i].ids)
        if groups and (len(groups[-1]) + 1) * length <= most_tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def lay_out(
    sequences: Sequence[Tokens], prompt_weight: float = 0.0, device: str = "cpu", *, share: bool = False
) -> Batch:
    """One batch of `sequences`. Tokens of the prompt count with `prompt_weight` (0: not at all).

    With `share`, the beginning that all of them have in common is laid out once.
    """
    start = _shared(sequences) if share and not prompt_weight else 0
    longest = max(len(s.ids) for s in sequences) - start
    ids = torch.zeros((len(sequences), longest), dtype=torch.long)
    found: list[tuple[int, int, int, float]] = []
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids) - start] = torch.tensor(sequence.ids[start:])
        for i in range(1, len(sequence.ids)):
            weight = sequence.weights[i] or prompt_weight
            if weight:
                found.append((row, i - 1 - start, sequence.ids[i], weight))
    rows, places, targets, weights = zip(*found, strict=True) if found else ((), (), (), ())
    return Batch(
        ids.to(device),
        torch.tensor([sequences[0].ids[:start]], device=device) if start else None,
        torch.tensor(rows, dtype=torch.long, device=device),
        torch.tensor(places, dtype=torch.long, device=device),
        torch.tensor(targets, dtype=torch.long, device=device),
        torch.tensor(weights, dtype=torch.float32, device=device),
    )


def _shared(sequences: Sequence[Tokens]) -> int:
    """How many tokens all sequences begin with that predict nothing that counts; 0 where sharing would not pay."""
    first, last = min(s.ids for s in sequences), max(s.ids for s in sequences)
    common = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    counts = (next((i for i, w in enumerate(s.weights) if w), len(s.ids)) for s in sequences)
    common = min(common, *(at - 1 for at in counts))
    return common if len(sequences) > 1 and common >= FEWEST_SHARED else 0


def weight_of(sequence: Tokens, prompt_weight: float = 0.0) -> float:
    """The sum of the weights that `lay_out` will give this sequence: what an update's loss is divided by."""
    return sum(weight or prompt_weight for weight in sequence.weights[1:])
