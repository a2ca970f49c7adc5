"""A model with labels on batches of texts: how they are laid out, and the logits where they are asked for.

Rows are padded on the right and the mask says where they end, so that padding changes nothing. transformers' decoders
take the label at the last token that is not the padding token, by comparing ids; so the padding token is one with
which no row of the batch ends, whatever the tokenizer calls its own (many bases pad with their end token).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from postil.model.layout import by_length
from postil.model.reader import Labelled, Reader
from postil.model.template import Tokens

MOST_TOKENS = 4096  # of one padded batch that nothing is learned from


@dataclass(frozen=True)
class Asked:
    """ids and mask: [texts, longest]. The R places that are asked: at (`rows`, `places`), where `targets` are right.

    owners: which of the sequences that were laid out each row is.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    rows: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor
    owners: tuple[int, ...]
    padding: int


def lay_out(sequences: Sequence[Labelled], most_tokens: int, device: str, padding: int | None) -> Iterator[Asked]:
    """Batches of rows of like length, at most `most_tokens` each. padding: the token that an encoder pads with."""
    plain = [Tokens(one.ids, (), ()) for one in sequences]
    for group in by_length(plain, most_tokens):
        yield _batch([sequences[i] for i in group], tuple(group), device, padding)


def _batch(rows: Sequence[Labelled], owners: tuple[int, ...], device: str, padding: int | None) -> Asked:
    last = {row.ids[-1] for row in rows}
    filler = padding if padding is not None else next(i for i in range(len(last) + 1) if i not in last)
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), filler, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        mask[at, : len(row.ids)] = 1
    asked = [(at, place) for at, row in enumerate(rows) for place in row.places]
    targets = [target for row in rows for target in row.targets]

    def told(values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    whose, where = told([at for at, _ in asked]), told([place for _, place in asked])
    return Asked(ids.to(device), mask.to(device), whose, where, told(targets), owners, filler)


def logits(model: Any, batch: Asked, reader: Reader) -> torch.Tensor:
    """The logits [R, labels] in float32 at the places of a batch; `model` may carry an adapter."""
    if not reader.encoder:
        model.config.get_text_config().pad_token_id = batch.padding
    out: torch.Tensor = model(input_ids=batch.ids, attention_mask=batch.mask).logits
    return (out[batch.rows, batch.places] if reader.each_token else out).float()
