"""What the tokens of a pack see of each other, on a CPU: piece by piece, in plain matrix products.

A pack is cut into pieces. The tokens of a piece see the pieces before it on their own path, whole, and themselves up to
where they stand. So the work is what the rows need and no more: nothing is computed for pairs of tokens that do not see
each other, but for the triangle of a piece itself. Pieces of like length behind the same beginning are a family, and
are computed in the same products.

A flash kernel on a CPU is made for long sequences; for pieces of some ten tokens it took a third longer, forward and
backward, and the slices that autograd would take back one by one as long again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

LONGEST_PIECE = 128  # tokens; of a longer run, later parts do not compute what earlier ones cannot see
PADDING = 1.5  # how much larger than its tokens a family may be
KEPT_SCORES = (
    2**21
)  # elements of a piece; more are computed again on the way back, so that memory grows with length only


@dataclass(frozen=True)
class Piece:
    """Tokens [start, end) of a pack. They see the tokens of `before` and themselves up to where they stand."""

    start: int
    end: int
    before: tuple[tuple[int, int], ...]

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Family:
    """`count` pieces behind one beginning, each `length` tokens with those that only fill it up.

    before: [tokens that all see]. own: [count * length], where their tokens stand; a filling one stands for the last.
    real: which of `own` are no filling; None: all.
    """

    count: int
    length: int
    before: torch.Tensor
    own: torch.Tensor
    real: torch.Tensor | None

    @property
    def places(self) -> torch.Tensor:
        """Where the real tokens stand."""
        return self.own if self.real is None else self.own[self.real]


def families(pieces: Iterable[Piece], device: torch.device) -> tuple[Family, ...]:
    """Pieces that are computed together, in the order of the first of them."""
    by_beginning: dict[tuple[tuple[int, int], ...], list[Piece]] = {}
    for piece in pieces:
        by_beginning.setdefault(piece.before, []).append(piece)
    found = []
    for before, alike in by_beginning.items():
        seen = torch.tensor([at for start, end in before for at in range(start, end)], dtype=torch.long, device=device)
        found += [_family(group, seen, device) for group in _by_length(alike)]
    return tuple(found)


def _by_length(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Groups in which filling up to the longest costs little."""
    groups: list[list[Piece]] = []
    tokens = 0
    for piece in sorted(pieces, key=lambda piece: (piece.length, piece.start)):
        tokens += piece.length
        if not groups or (len(groups[-1]) + 1) * piece.length > PADDING * tokens:
            groups.append([])
            tokens = piece.length
        groups[-1].append(piece)
    return groups


def _family(pieces: Sequence[Piece], before: torch.Tensor, device: torch.device) -> Family:
    length = pieces[-1].length
    own = [min(piece.start + i, piece.end - 1) for piece in pieces for i in range(length)]
    real = [at * length + i for at, piece in enumerate(pieces) for i in range(piece.length)]
    where = torch.tensor(own, device=device)
    return Family(
        len(pieces), length, before, where, None if len(real) == len(own) else torch.tensor(real, device=device)
    )


class ByFamily(torch.autograd.Function):
    """query [1, heads, L, d], key and value [1, key heads, L, d] -> [1, L, heads, d]."""

    @staticmethod
    def forward(
        ctx: Any, together: Sequence[Family], scale: float, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        kv = key.shape[1]
        out = query.new_empty(query.shape[2], query.shape[1], value.shape[-1])
        kept: list[torch.Tensor | None] = []
        for family in together:
            q, k, v = _own(query, family, kv), _seen(key, family), _seen(value, family)
            weights = _weights(q, k, family, scale)
            few = weights.numel() <= KEPT_SCORES * family.count
            kept.append(weights if few and any(ctx.needs_input_grad) else None)
            out.index_copy_(0, family.places, _real(_unfolded(torch.bmm(weights, v), family, kv), family, 0))
        ctx.save_for_backward(query, key, value, *kept)
        ctx.together, ctx.scale = together, scale
        return out.unsqueeze(0)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        grad = grads[0].transpose(1, 2)
        kv = key.shape[1]
        to_query = query.new_empty(query.shape[2], query.shape[1], query.shape[3])
        to_key, to_value = torch.zeros_like(key), torch.zeros_like(value)
        for family, weights in zip(ctx.together, kept, strict=True):
            q, k, v = _own(query, family, kv), _seen(key, family), _seen(value, family)
            g = _own(grad, family, kv, silent=True)
            if weights is None:
                weights = _weights(q, k, family, ctx.scale)
            _add(to_value, torch.bmm(weights.transpose(1, 2), g), family)
            scores = torch.bmm(g, v.transpose(1, 2))
            scores = torch._softmax_backward_data(scores, weights, -1, scores.dtype)
            own = _unfolded(_product(scores, k, ctx.scale), family, kv)
            to_query.index_copy_(0, family.places, _real(own, family, 0))
            _add(to_key, _product(scores.transpose(1, 2), q, ctx.scale), family)
        return None, None, to_query.transpose(0, 1).unsqueeze(0), to_key, to_value


def _own(heads: torch.Tensor, family: Family, kv: int, *, silent: bool = False) -> torch.Tensor:
    """The queries of a family, those that share a key head one below the other: [key heads * count, group * length, d].

    silent: zeros stand for those that only fill it up.
    """
    taken = heads[0].index_select(1, family.own)
    if silent and family.real is not None:
        taken = torch.zeros_like(taken).index_copy_(1, family.real, taken.index_select(1, family.real))
    folded = taken.view(kv, -1, family.count, family.length, taken.shape[-1]).transpose(1, 2)
    return folded.reshape(kv * family.count, -1, taken.shape[-1])


def _unfolded(rows: torch.Tensor, family: Family, kv: int) -> torch.Tensor:
    """The other way: [key heads * count, group * length, d] -> [count * length, heads, d]."""
    parts = rows.view(kv, family.count, -1, family.length, rows.shape[-1])
    return parts.permute(1, 3, 0, 2, 4).reshape(family.count * family.length, -1, rows.shape[-1])


def _real(rows: torch.Tensor, family: Family, dim: int) -> torch.Tensor:
    return rows if family.real is None else rows.index_select(dim, family.real)


def _seen(heads: torch.Tensor, family: Family) -> torch.Tensor:
    """The keys or values that the pieces of a family see: [key heads * count, before + length, d]."""
    kv, _, size = heads.shape[1:]
    own = heads[0].index_select(1, family.own).view(kv, family.count, family.length, size)
    if not len(family.before):
        return own.view(kv * family.count, family.length, size)
    first = heads[0].index_select(1, family.before).unsqueeze(1).expand(-1, family.count, -1, -1)
    return torch.cat((first, own), 2).view(kv * family.count, -1, size)


def _add(total: torch.Tensor, shares: torch.Tensor, family: Family) -> None:
    """Add the gradients of what the pieces see [key heads * count, before + length, d] to where it stands in
    [1, key heads, L, d]."""
    kv, count = total.shape[1], len(family.before)
    parts = shares.view(kv, family.count, -1, shares.shape[-1])
    for places, some in (
        (family.before, parts[:, :, :count].sum(1)),
        (family.places, _real(parts[:, :, count:].reshape(kv, -1, shares.shape[-1]), family, 1)),
    ):
        if len(places):
            total[0].index_copy_(1, places, total[0].index_select(1, places).add_(some))


def _weights(q: torch.Tensor, k: torch.Tensor, family: Family, scale: float) -> torch.Tensor:
    """How much each query takes of each token that it sees: [key heads * count, group * length, before + length].

    What fills a piece up comes after all real ones, and so is seen by none of them.
    """
    own = family.length
    scores = _product(q, k.transpose(1, 2), scale)
    scores.view(len(k), -1, own, k.shape[1])[..., -own:].add_(_later(own, q.device, q.dtype))
    return torch.softmax(scores, dim=-1)


def _product(a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """scale * a @ b, the scale taken along by the product."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)


@lru_cache(maxsize=4 * LONGEST_PIECE)
def _later(count: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Minus infinity where the second token comes after the first, else zero: [count, count]."""
    return torch.full((count, count), float("-inf"), device=device, dtype=dtype).triu(1)
