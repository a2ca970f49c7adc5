"""What rows under way remember: the keys and values of their tokens, layer by layer.

Rows of like length lie together in a cell, one tensor for each layer, so that one matrix product serves them all. A
row that outgrows its cell moves to a roomier one; a row that ends leaves its place to the last. What several rows begin
with (a `Shared` beginning) lies there once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

STEP = 32  # tokens; rooms are multiples of it, and of an eighth of themselves at least
WIDEST = 512  # numbers in rows that are summed; sums of wider ones do not stay in a processor's registers
LONGEST_PIECE = 256  # tokens of a prompt that attend at once; fewer products with what they cannot see

KeyValue = tuple[torch.Tensor, torch.Tensor]  # keys [.., d, tokens], values [.., tokens, d]: both are sums of rows


def room_for(tokens: int) -> int:
    """The room of the cell in which a row of so many tokens lies."""
    step = STEP
    while tokens > 8 * step:
        step *= 2
    return -(-tokens // step) * step


@dataclass(frozen=True)
class Shared:
    """A beginning that several rows have in common.

    layers: keys [key heads, d, length], values [key heads, length, d].
    """

    length: int
    layers: tuple[KeyValue, ...]


class Cell:
    """Rows in one tensor for each layer, made when first written.

    Keys are [places, key heads, d, room], values [places, key heads, room, d].
    """

    def __init__(self, room: int, shared: Shared | None, places: int = 1) -> None:
        self.room, self.shared = room, shared
        self.lengths: list[int] = [0]
        self._places = places
        self._layers: list[KeyValue] = []

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for layer in self._layers for tensor in layer)

    def layer(self, index: int, key: torch.Tensor, value: torch.Tensor) -> KeyValue:
        """The keys and values of a layer; `key` and `value` [any, key heads, d] say of what shape they are."""
        while len(self._layers) <= index:
            kv, size = key.shape[1], (key.shape[2], value.shape[2])
            self._layers.append((self._empty(key, kv, size[0], self.room), self._empty(value, kv, self.room, size[1])))
        return self._layers[index]

    def take(self, other: Cell, places: Sequence[int]) -> range:
        """Put rows of another cell behind this one's rows; returns their places."""
        mine, lengths = len(self.lengths), [other.lengths[place] for place in places]
        new = range(mine, mine + len(places))
        if new.stop > self._places:
            self._widen(max(new.stop, self._places + self._places // 2 if mine else 0))
        taken, longest = slice(new.start, new.stop), max(lengths)
        them = slice(len(places)) if list(places) == list(range(len(places))) else torch.tensor(places)
        for index, (key, value) in enumerate(other._layers):
            to_key, to_value = self.layer(index, key[0].permute(2, 0, 1), value[0].transpose(0, 1))
            to_key[taken, ..., :longest] = key[them, ..., :longest]
            to_value[taken, :, :longest] = value[them, :, :longest]
        self.lengths += lengths
        return new

    def drop(self, place: int) -> None:
        """Forget the row at `place`; the last row comes to lie there.

        Nothing is left of it: numbers that are none would reach the next row, though it gives them no weight.
        """
        last = len(self.lengths) - 1
        for key, value in self._layers:
            if place != last:
                key[place], value[place] = key[last], value[last]
            key[last], value[last] = 0, 0
        self.lengths[place] = self.lengths[last]
        self.lengths.pop()

    def beginning(self, place: int, length: int) -> Shared:
        """A copy of the first `length` tokens of a row, for others to share."""
        if self.shared is None:
            kept = [(key[place, ..., :length].clone(), value[place, :, :length].clone()) for key, value in self._layers]
            return Shared(length, tuple(kept))
        before = self.shared.length
        own = [
            (torch.cat((first[0][..., :length], key[place, ..., : max(0, length - before)]), 2),
             torch.cat((first[1][:, :length], value[place, :, : max(0, length - before)]), 1))
            for first, (key, value) in zip(self.shared.layers, self._layers, strict=True)
        ]  # fmt: skip
        return Shared(length, tuple(own))

    def begin_with(self, shared: Shared) -> None:
        """Let the only row of this cell begin with a copy of `shared`."""
        for index, (key, value) in enumerate(shared.layers):
            to_key, to_value = self.layer(index, key.permute(2, 0, 1), value.transpose(0, 1))
            to_key[0, ..., : shared.length] = key
            to_value[0, :, : shared.length] = value
        self.lengths = [shared.length]

    def _empty(self, like: torch.Tensor, *shape: int) -> torch.Tensor:
        # zeros: what is masked has weight 0, and 0 times whatever lay there could be no number
        return like.new_zeros((self._places, *shape))

    def _widen(self, places: int) -> None:
        self._places = places
        for index, (key, value) in enumerate(self._layers):
            wider = self._empty(key, *key.shape[1:]), self._empty(value, *value.shape[1:])
            wider[0][: len(key)], wider[1][: len(value)] = key, value
            self._layers[index] = wider


@dataclass(frozen=True)
class Next:
    """The next token of the first `count` rows of a cell, which stand at `start` of the pass."""

    cell: Cell
    start: int
    count: int
    longest: int  # tokens of the longest row, with the next one
    at: torch.Tensor  # [count]: the place of the new token in its row
    places: torch.Tensor  # [count]: 0, 1, 2, ...
    hidden: torch.Tensor | None  # [count, 1, 1, longest]: what no token of that row has been written to
    _rows: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.start + self.count

    @classmethod
    def of(cls, cell: Cell, start: int, device: str) -> Next:
        count = len(cell.lengths)
        at = torch.tensor(cell.lengths)
        longest = max(cell.lengths) + 1
        hidden = None
        if min(cell.lengths) + 1 < longest:
            hidden = (torch.arange(longest) > at[:, None])[:, None, None].to(device)
        return cls(cell, start, count, longest, at.to(device), torch.arange(count, device=device), hidden)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """query [count, heads, d], key and value [count, key heads, d] -> [count, heads, d]."""
        count, heads, size = query.shape
        kv = key.shape[1]
        keys, values = self.cell.layer(layer, key, value)
        keys[self.places, :, :, self.at] = key
        values[self.places, :, self.at] = value
        grouped = query.view(count, kv, heads // kv, size)
        scores = self._summed(grouped, keys)[..., : self.longest]
        if self.hidden is not None:
            scores.masked_fill_(self.hidden, float("-inf"))
        shared = self.cell.shared
        if shared is None:
            return self._summed(_softmax(scores, scale, query.dtype), values).reshape(count, heads, -1)
        first = torch.bmm(grouped.permute(1, 2, 0, 3).reshape(kv, -1, size), shared.layers[layer][0])
        first = first.view(kv, heads // kv, count, -1).permute(2, 0, 1, 3)
        weights = _softmax(torch.cat((first, scores), -1), scale, query.dtype)
        before, own = weights[..., : shared.length], weights[..., shared.length :]
        before = before.permute(1, 2, 0, 3).reshape(kv, -1, shared.length)
        seen = torch.bmm(before, shared.layers[layer][1]).view(kv, heads // kv, count, -1)
        return (self._summed(own, values) + seen.permute(2, 0, 1, 3)).reshape(count, heads, -1)

    def _summed(self, weights: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """weights [count, key heads, group, n], table [places, key heads, n or more, width] -> [count, key heads,
        group, width]. For so few weights to a matrix a sum of table rows is faster than a product on a processor."""
        count, kv, group, n = weights.shape
        if weights.dtype != torch.float32 or weights.device.type != "cpu" or table.shape[-1] > WIDEST:
            return torch.matmul(weights, table[:count, :, :n])
        rows, starts = self._rows_of(kv, group, n, table.shape[2])
        flat = table.view(-1, table.shape[-1])
        summed = torch.embedding_bag(flat, rows, starts, False, 0, False, weights.reshape(-1), False)[0]
        return summed.view(count, kv, group, -1)

    def _rows_of(self, kv: int, group: int, n: int, height: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first `n` of each `height` rows, once for each of a group; and where each time begins among them."""
        if (kv, group, n, height) not in self._rows:
            first = torch.arange(self.count * kv, dtype=torch.int32)[:, None, None] * height
            rows = (first + torch.arange(n, dtype=torch.int32)).expand(-1, group, -1).reshape(-1)
            self._rows[kv, group, n, height] = rows, torch.arange(0, len(rows), n, dtype=torch.int32)
        return self._rows[kv, group, n, height]


@dataclass(frozen=True)
class Prompt:
    """The next tokens of a prompt, at [start, end) of the pass. The row is the only one of its cell."""

    cell: Cell
    start: int
    end: int

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """query [count, heads, d], key and value [count, key heads, d] -> [count, heads, d]."""
        count, heads, size = query.shape
        kv, at = key.shape[1], self.cell.lengths[0]
        keys, values = self.cell.layer(layer, key, value)
        keys[0, ..., at : at + count] = key.permute(1, 2, 0)
        values[0, :, at : at + count] = value.transpose(0, 1)
        parts = []
        for first in range(0, count, LONGEST_PIECE):
            last = min(count, first + LONGEST_PIECE)
            seen = keys[0, ..., : at + last], values[0, :, : at + last]
            if self.cell.shared is not None:
                before = self.cell.shared.layers[layer]
                seen = torch.cat((before[0], seen[0]), 2), torch.cat((before[1], seen[1]), 1)
            piece = query[first:last].transpose(0, 1).reshape(kv, -1, size)
            out = _causal(piece, *seen, last - first, scale).view(heads, last - first, -1)
            parts.append(out.transpose(0, 1))
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, own: int, scale: float) -> torch.Tensor:
    """Attention of the last `own` tokens; `query` has those that share a key head one below the other."""
    scores = torch.bmm(query, key)
    later = torch.ones(own, own, dtype=torch.bool, device=query.device).triu(1)
    scores.view(len(key), -1, own, key.shape[2])[..., -own:].masked_fill_(later, float("-inf"))
    return torch.bmm(_softmax(scores, scale, query.dtype), value)


def _softmax(scores: torch.Tensor, scale: float, dtype: torch.dtype) -> torch.Tensor:
    scores = scores.float()
    return torch.softmax(scores if scale == 1.0 else scores * scale, -1).to(dtype)


@dataclass(frozen=True)
class Pass:
    """One forward pass over tokens of many rows; what `model/attention.py` asks what each of them sees."""

    parts: Sequence[Next | Prompt]
    longest: int

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """query [1, heads, L, d], key and value [1, key heads, L, d] -> [1, L, heads, d]."""
        query, key, value = (one[0].transpose(0, 1) for one in (query, key, value))
        return self.by_token(layer, query, key, value, scale).unsqueeze(0)

    def by_token(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float = 1.0
    ) -> torch.Tensor:
        """query [L, heads, d], key and value [L, key heads, d] -> [L, heads, d]."""
        if len(self.parts) == 1:
            return self.parts[0].attend(layer, query, key, value, scale)
        out = []
        for part in self.parts:
            here = slice(part.start, part.end)
            out.append(part.attend(layer, query[here], key[here], value[here], scale))
        return torch.cat(out)
