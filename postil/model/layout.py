"""Sequences become the tensors of one forward pass: a pack where the model can take it, else padded rows.

A pack is one sequence. The rows of an update are sorted, so that those with equal beginnings stand together; what
they begin with (the system prompt, a fixed instruction, earlier turns) is laid out once, and then each row's own part.
The rows form a tree of tokens: shared beginnings may stand within shared beginnings. Positions count along a row's own
path, and attention follows the tree (`model/attention.py`), so that each row sees what it would see alone. There is no
padding.

A padded batch is for all other models: attention is causal, so that no real token ever sees the padding on the right.
Padding is never looked for by comparing ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch

from postil.model.attention import Pieces
from postil.model.pieces import LONGEST_PIECE, Piece
from postil.model.template import Tokens

FEWEST_SHARED = 8  # tokens; a shorter beginning costs more as a piece of its own than it saves


@dataclass(frozen=True)
class Batch:
    """ids: [rows, length]. The R predictions that count: made at (`rows`, `places`), of `targets`.

    `owners` says of which sequence each prediction is. In a pack there is one row, and two sequences may each have a
    prediction at the same place.
    """

    ids: torch.Tensor
    positions: torch.Tensor  # as ids
    packed: Pieces | None
    rows: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    owners: torch.Tensor


class HasIds(Protocol):
    """Whatever is laid out by its token ids alone."""

    @property
    def ids(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class _Prediction:
    row: int
    place: int
    target: int
    weight: float
    owner: int


def lay_out(
    sequences: Sequence[Tokens], most_tokens: int, *, packed: bool, share: bool = True, prompt_weight: float = 0.0,
    device: str = "cpu",
) -> Iterator[tuple[list[int], Batch]]:  # fmt: skip
    """Batches of at most `most_tokens`, with the indices of their sequences; `owners` count within a batch."""
    if packed:
        for group in packs(sequences, most_tokens, share=share):
            yield group, pack([sequences[i] for i in group], prompt_weight, device, share=share)
    else:
        for group in by_length(sequences, most_tokens):
            yield group, pad([sequences[i] for i in group], prompt_weight, device)


def packs(sequences: Sequence[HasIds], most_tokens: int, *, share: bool = True) -> Iterator[list[int]]:
    """Indices of `sequences` in groups, each about `most_tokens` at most when it is packed; a longer one has its own.

    With `share`, those with equal beginnings come together.
    """
    group: list[int] = []
    size = 0
    last: tuple[int, ...] = ()
    for i in _in_order(sequences, share=share):
        ids = sequences[i].ids
        added = len(ids) - (_worth(_common(last, ids)) if share and group else 0)
        if group and size + added > most_tokens:
            yield group
            group, size, added = [], 0, len(ids)
        group.append(i)
        size, last = size + added, ids
    if group:
        yield group


def pack(sequences: Sequence[Tokens], prompt_weight: float = 0.0, device: str = "cpu", *, share: bool = True) -> Batch:
    """`sequences` as one sequence. Tokens of the prompt count with `prompt_weight` (0: not at all).

    Without `share` every row is laid out whole, one after the other.
    """
    tree = _Tree(sequences)
    order = _in_order(sequences, share=share)
    if share:
        tree.grow(order, 0, ())
    else:
        for i in order:
            tree.grow([i], 0, ())
    found = [
        _Prediction(0, tree.paths[i][at - 1], sequence.ids[at], weight, i)
        for i, sequence in enumerate(sequences)
        for at, weight in _counting(sequence, prompt_weight)
    ]
    return _batch(torch.tensor([tree.ids]), torch.tensor([tree.positions]), tree.pieces(device), found, device)


def pad(sequences: Sequence[Tokens], prompt_weight: float = 0.0, device: str = "cpu") -> Batch:
    """`sequences` as rows of one length, padded on the right."""
    ids = torch.zeros((len(sequences), max(len(s.ids) for s in sequences)), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
    found = [
        _Prediction(row, at - 1, sequence.ids[at], weight, row)
        for row, sequence in enumerate(sequences)
        for at, weight in _counting(sequence, prompt_weight)
    ]
    return _batch(ids, torch.arange(ids.shape[1]).expand(ids.shape), None, found, device)


def by_length(sequences: Sequence[HasIds], most_tokens: int) -> Iterator[list[int]]:
    """Indices of `sequences` in groups of like length, none above `most_tokens` tokens with its padding."""
    group: list[int] = []
    for i in sorted(range(len(sequences)), key=lambda i: (len(sequences[i].ids), i)):
        if group and (len(group) + 1) * len(sequences[i].ids) > most_tokens:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def weight_of(sequence: Tokens, prompt_weight: float = 0.0) -> float:
    """The sum of the weights that a batch will give this sequence: what an update's loss is divided by."""
    return sum(weight for _, weight in _counting(sequence, prompt_weight))


def _counting(sequence: Tokens, prompt_weight: float) -> Iterator[tuple[int, float]]:
    """The tokens whose prediction counts, and how much. Nothing stands before the first: it is not predicted."""
    for at in range(1, len(sequence.ids)):
        weight = sequence.weights[at] or prompt_weight
        if weight:
            yield at, weight


def _batch(
    ids: torch.Tensor, positions: torch.Tensor, packed: Pieces | None, found: Sequence[_Prediction], device: str
) -> Batch:
    def column(values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return Batch(
        ids.to(device),
        positions.to(device),
        packed,
        column([one.row for one in found]),
        column([one.place for one in found]),
        column([one.target for one in found]),
        torch.tensor([one.weight for one in found], dtype=torch.float32, device=device),
        column([one.owner for one in found]),
    )


# ── the tree ──────────────────────────────────────────────────────────────────────────────────────


class _Tree:
    """Rows laid out depth first. `paths[i]` are the places of row i's tokens, in their order."""

    def __init__(self, sequences: Sequence[Tokens]) -> None:
        self._rows = [sequence.ids for sequence in sequences]
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.paths: list[list[int]] = [[] for _ in sequences]
        self._pieces: list[Piece] = []
        self._ends: list[int] = []

    def grow(self, rows: Sequence[int], depth: int, before: tuple[tuple[int, int], ...]) -> None:
        """Lay out `rows`, in order, whose first `depth` tokens stand at `before` already."""
        common = _common(self._rows[rows[0]], self._rows[rows[-1]])  # in order: what these two share, all do
        here = len(self.ids)
        if len(rows) == 1 or common - depth >= FEWEST_SHARED:
            self._lay(rows, depth, common, before)
            before, depth = _joined(before, (here, len(self.ids))), common
        laid = len(self.ids)
        if len(rows) > 1:
            for group in self._groups(rows, depth + FEWEST_SHARED):
                self.grow(group, depth, before)
        self._ends[here:laid] = [len(self.ids)] * (laid - here)

    def _lay(self, rows: Sequence[int], depth: int, end: int, before: tuple[tuple[int, int], ...]) -> None:
        here, there = len(self.ids), len(self.ids) + end - depth
        self.ids += self._rows[rows[0]][depth:end]
        self.positions += range(depth, end)
        self._ends += [0] * (end - depth)
        for row in rows:
            self.paths[row] += range(here, there)
        parts = -(-(there - here) // LONGEST_PIECE)
        cuts = [here + (there - here) * part // max(1, parts) for part in range(parts + 1)]
        for start, stop in pairwise(cuts):
            self._pieces.append(Piece(start, stop, _joined(before, (here, start))))

    def _groups(self, rows: Sequence[int], least: int) -> list[list[int]]:
        """Neighbours that share at least `least` tokens."""
        groups = [[rows[0]]]
        for left, right in pairwise(rows):
            if _common(self._rows[left], self._rows[right]) >= least:
                groups[-1].append(right)
            else:
                groups.append([right])
        return groups

    def pieces(self, device: str) -> Pieces:
        longest = max(self.positions, default=0) + 1
        return Pieces(tuple(self._pieces), longest, torch.tensor(self._ends, device=device), len(self._rows) == 1)


def _joined(ranges: tuple[tuple[int, int], ...], other: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """`ranges` and one more, which may go on where the last one ends."""
    if other[0] == other[1]:
        return ranges
    if ranges and ranges[-1][1] == other[0]:
        return (*ranges[:-1], (ranges[-1][0], other[1]))
    return (*ranges, other)


def _in_order(sequences: Sequence[HasIds], *, share: bool) -> list[int]:
    """By their tokens, so that rows with equal beginnings are neighbours; or as they come."""
    indices = range(len(sequences))
    return sorted(indices, key=lambda i: (sequences[i].ids, i)) if share else list(indices)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _worth(common: int) -> int:
    return common if common >= FEWEST_SHARED else 0
