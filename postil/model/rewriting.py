"""Encoder and decoder: a source text is read whole, and its target is written token by token.

Neither side has a chat template: the source is what is asked, with the system prompt before it, as plain text; the
target is the answer and its end. Both are encoded as the tokenizer encodes any text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from postil.model.labels import Fault
from postil.model.template import Span, Template, Tokens
from postil.records import Example, Message


def source_of(messages: Sequence[Message], template: Template) -> list[int]:
    """The tokens that the encoder reads."""
    return template.text_ids("\n".join(m.content for m in messages), add_special_tokens=True)


def target_of(answer: str, template: Template) -> list[int]:
    """The tokens that the decoder is to write, with the one that ends them."""
    ids = template.text_ids(answer, add_special_tokens=True)
    end = template.tokenizer.eos_token_id
    return ids if end is None or ids[-1:] == [end] else [*ids, end]


def examine_sides(example: Example, template: Template, max_length: int) -> tuple[list[Tokens], list[Fault]]:
    """The sequence of one example, source and target in one, and all that is wrong with it.

    Causes: nothing_asked, all_masked, end_not_a_token, end_not_learned, message_lost and answer_changed (the
    vocabulary lacks its characters), stop_inside, cut.
    """
    if not example.question:
        return [], [Fault("nothing_asked", example.rows)]
    source, target = source_of(example.question, template), target_of(example.answer, template)
    span = Span(len(source), len(source) + len(target), example.answer)
    weights = (*[0.0] * len(source), *[1.0] * len(target))
    made = Tokens((*source, *target), weights, (span,), example.rows, len(source))
    causes = list(dict.fromkeys(_faults(example, source, target, template, max_length)))
    return [made], [Fault(cause, example.rows) for cause in causes]


def _faults(
    example: Example, source: list[int], target: list[int], template: Template, max_length: int
) -> Iterator[str]:
    tokenizer, end = template.tokenizer, template.tokenizer.eos_token_id
    if end is None:
        yield "end_not_a_token"
    elif target[-1:] != [end]:
        yield "end_not_learned"
    if not target[:-1]:
        yield "all_masked"
    special = {tokenizer.bos_token_id, end, tokenizer.pad_token_id}
    if end in target[:-1]:
        yield "stop_inside"
    for text, ids, cause in ((example.answer, target, "answer_changed"),
                             ("\n".join(m.content for m in example.question), source, "message_lost")):  # fmt: skip
        if _folded(tokenizer.decode([i for i in ids if i not in special], skip_special_tokens=False)) != _folded(text):
            yield cause
    if max(len(source), len(target)) > max_length:
        yield "cut"


def _folded(text: str) -> str:
    """Without white space and width: tokenizers of this kind change both."""
    return "".join(unicodedata.normalize("NFKC", text).split())


# ── batches ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Sides:
    """Padded rows. source and mask: [rows, longest source]; said, wanted and weights: [rows, longest target]."""

    source: torch.Tensor
    mask: torch.Tensor
    said: torch.Tensor  # what the decoder is given: a start and the target without its last token
    wanted: torch.Tensor
    weights: torch.Tensor


def lay_out_sides(
    sequences: Sequence[Tokens], most_tokens: int, start: int, device: str
) -> Iterator[tuple[list[int], Sides]]:
    """Batches of rows of like length, at most `most_tokens` with their padding; with the indices of their sequences."""
    group: list[int] = []
    longest = (0, 0)
    for i in sorted(range(len(sequences)), key=lambda i: (*_lengths(sequences[i]), i)):
        own = _lengths(sequences[i])
        wider = (max(longest[0], own[0]), max(longest[1], own[1]))
        if group and (len(group) + 1) * sum(wider) > most_tokens:
            yield group, _padded([sequences[i] for i in group], start, device)
            group, wider = [], own
        group.append(i)
        longest = wider
    if group:
        yield group, _padded([sequences[i] for i in group], start, device)


def start_id(model: Any) -> int:
    """The token that the decoder is given before the first of its own."""
    config = vars(model.config)
    found = [config.get(name) for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id")]
    return int(next((i for i in found if i is not None), 0))


def losses_of(model: Any, batch: Sides) -> torch.Tensor:
    """Cross-entropy in nats of each token of the targets, in float32, not weighted: [rows, longest target]."""
    logits = model(
        input_ids=batch.source, attention_mask=batch.mask, decoder_input_ids=batch.said, use_cache=False
    ).logits
    return F.cross_entropy(logits.float().transpose(1, 2), batch.wanted, reduction="none")


def pad_sources(rows: Sequence[Sequence[int]], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask [rows, longest], padded on the right."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    return ids.to(device), mask.to(device)


def _lengths(sequence: Tokens) -> tuple[int, int]:
    return sequence.source, len(sequence.ids) - sequence.source


def _padded(sequences: Sequence[Tokens], start: int, device: str) -> Sides:
    source, mask = pad_sources([s.ids[: s.source] for s in sequences], device)
    targets = [s.ids[s.source :] for s in sequences]
    wanted, _ = pad_sources(targets, device)
    said, _ = pad_sources([(start, *target[:-1]) for target in targets], device)
    weights = torch.zeros(wanted.shape)
    for place, sequence in enumerate(sequences):
        weights[place, : len(targets[place])] = torch.tensor(sequence.weights[sequence.source :])
    return Sides(source, mask, said, wanted, weights.to(device))
