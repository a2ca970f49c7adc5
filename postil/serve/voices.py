"""Each token of a pass gets the low-rank update of its own adapter, and none if it has none.

The base's linear layers stay as they are: something is added to what they give. Tokens that come alone (the next one of
an answer) read their adapter's rows straight out of the stack, by a weighted sum of table rows; many tokens of one
adapter (a prompt) take a matrix product.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch

from postil.serve.shelf import Held, Stack
from postil.serve.tables import Cut, Tables

FEW = 4  # tokens of one adapter; from so many on a product of their own is faster

Span = tuple[Hashable, int, int]
Where = torch.Tensor | slice | None  # which tokens of a pass; None: all


@dataclass(frozen=True)
class _Alone:
    """Tokens `at` of the pass, each with the adapter at its own place of the stack."""

    stack: Stack
    at: Where
    places: torch.Tensor  # [tokens]
    _bags: dict[tuple[int, Cut | None], tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def add(self, tables: Tables, x: torch.Tensor, out: torch.Tensor) -> None:
        mine = x if self.at is None else x[self.at]
        if x.dtype != torch.float32 or x.device.type != "cpu":
            _add_each(tables, mine[:, None], self.places, out, self.at)
            return
        low = self._summed(mine, tables.down, None)
        weights = low if tables.picks is None else low.index_select(1, tables.picks)
        _plus(out, self.at, self._summed(weights, tables.up, tables.cut).view(len(mine), -1))

    def _summed(self, weights: torch.Tensor, table: torch.Tensor, cut: Cut | None) -> torch.Tensor:
        """The rows of each token's adapter in a table [places, rows, width], weighted [tokens, rows] and summed: all of
        them, or those of each piece of a cut by themselves."""
        height = table.shape[1]
        if (height, cut) not in self._bags:
            rows = (self.places[:, None] * height + torch.arange(height)).view(-1)
            first = torch.arange(0, len(rows), height)[:, None]
            starts = first if cut is None else first + cut.starts()
            self._bags[height, cut] = rows.int(), starts.view(-1).int()
        rows, starts = self._bags[height, cut]
        flat = table.view(-1, table.shape[2])
        return torch.embedding_bag(flat, rows, starts, False, 0, False, weights.reshape(-1), False)[0]


@dataclass(frozen=True)
class _Run:
    """Tokens `at` of the pass, all with one adapter."""

    stack: Stack
    at: Where
    place: int

    def add(self, tables: Tables, x: torch.Tensor, out: torch.Tensor) -> None:
        _add_each(tables, x if self.at is None else x[self.at], self.place, out, self.at)


class Voices:
    """Whose voice each token of the next pass speaks with. `add` hears what every linear layer of the base gives."""

    def __init__(self) -> None:
        self._parts: list[_Alone | _Run] = []

    def speak(self, spans: Sequence[Span]) -> None:
        """For the next pass: (a Held or None, start, end) of its tokens, in their order."""
        self._parts = []
        tokens: dict[Held, list[int]] = {}
        for held, start, end in spans:
            if isinstance(held, Held):
                tokens.setdefault(held, []).extend(range(start, end))
        length = spans[-1][2]
        lonely: dict[int, list[tuple[int, Held]]] = {}
        for held, at in tokens.items():
            if len(at) < FEW:
                lonely.setdefault(id(held.stack), []).extend((one, held) for one in at)
            else:
                self._parts.append(_Run(held.stack, _where(at, length, held.stack.device), held.place))
        for pairs in lonely.values():
            pairs.sort(key=lambda pair: pair[0])
            stack = pairs[0][1].stack
            places = torch.tensor([held.place for _, held in pairs], device=stack.device)
            self._parts.append(_Alone(stack, _where([at for at, _ in pairs], length, stack.device), places))

    def fault_of(self, held: Held) -> Exception | None:
        """What goes wrong when this adapter speaks, tried on one token and on many; None if nothing does."""
        stack, place = held.stack, torch.tensor([held.place], device=held.stack.device)
        for tables in stack.tables.values():
            for part, tokens in ((_Alone(stack, None, place), 1), (_Run(stack, None, held.place), FEW)):
                x = tables.down.new_ones((tokens, tables.down.shape[1]))
                try:
                    part.add(tables, x, x.new_zeros((tokens, sum(tables.cut.widths))))
                except Exception as fault:  # noqa: BLE001  whatever it is, it is this adapter's
                    return fault
        return None

    def add(self, names: tuple[str, ...], x: torch.Tensor, out: torch.Tensor) -> None:
        """Add to what linear layers give [tokens, their widths side by side], which have all read x [tokens, in]."""
        for part in self._parts:
            tables = part.stack.tables.get(names)
            if tables is not None:
                part.add(tables, x, out)


def _add_each(tables: Tables, x: torch.Tensor, places: torch.Tensor | int, out: torch.Tensor, at: Where) -> None:
    """Layer by layer; x [tokens, in] of one place, or [tokens, 1, in] each of its own."""
    low = torch.matmul(x, tables.down[places])
    for layer in tables.layers:
        added = torch.matmul(low[..., layer.low], tables.up_of(layer, places))
        _plus(out[:, layer.columns], at, added.view(len(x), -1))


def _where(at: list[int], length: int, device: torch.device) -> Where:
    if len(at) == length:
        return None
    if at[-1] - at[0] + 1 == len(at):
        return slice(at[0], at[-1] + 1)
    return torch.tensor(at, device=device)


def _plus(out: torch.Tensor, at: Where, added: torch.Tensor) -> None:
    if at is None:
        out += added
    elif isinstance(at, slice):
        out[at] += added
    else:
        out.index_add_(0, at, added)
