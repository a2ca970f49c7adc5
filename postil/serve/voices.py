"""Each token of a pass gets the low-rank update of its own adapter, and none if it has none.

The base's linear layers stay as they are: a hook adds to what they give. Tokens that come alone (the next one of an
answer) read their adapter's rows straight out of the stack, by a weighted sum of table rows; many tokens of one adapter
(a prompt) take a matrix product.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from postil.serve.shelf import Held, Stack

FEW = 4  # tokens of one adapter; from so many on a product of their own is faster

Span = tuple[Hashable, int, int]


@dataclass(frozen=True)
class _Alone:
    """Tokens `at` of the pass, each with the adapter at its own place of the stack."""

    stack: Stack
    at: torch.Tensor | slice
    places: torch.Tensor  # [tokens]

    def rows(self, width: int) -> torch.Tensor:
        """Of a table [places * width, ...]: the rows of each token's adapter, [tokens, width]."""
        return self.places[:, None] * width + torch.arange(width, device=self.places.device)


@dataclass(frozen=True)
class _Run:
    """Tokens `at` of the pass, all with one adapter."""

    stack: Stack
    at: torch.Tensor | slice
    place: int


class Voices:
    """Whose voice each token of the next pass speaks with. `hook` stands on every linear layer of the base."""

    def __init__(self, linears: Mapping[str, torch.nn.Linear]) -> None:
        self._alone: list[_Alone] = []
        self._runs: list[_Run] = []
        self._rows: dict[tuple[int, int], torch.Tensor] = {}
        for name, linear in linears.items():
            linear.register_forward_hook(self._hook(name))

    def speak(self, spans: Sequence[Span]) -> None:
        """For the next pass: (a Held or None, start, end) of its tokens, in their order."""
        self._alone, self._runs, self._rows = [], [], {}
        tokens: dict[Held, list[int]] = {}
        for held, start, end in spans:
            if isinstance(held, Held):
                tokens.setdefault(held, []).extend(range(start, end))
        lonely: dict[int, list[tuple[int, Held]]] = {}
        for held, at in tokens.items():
            if len(at) < FEW:
                lonely.setdefault(id(held.stack), []).extend((one, held) for one in at)
            else:
                self._runs.append(_Run(held.stack, _where(at), held.place))
        for pairs in lonely.values():
            pairs.sort(key=lambda pair: pair[0])
            places = torch.tensor([held.place for _, held in pairs])
            self._alone.append(_Alone(pairs[0][1].stack, _where([at for at, _ in pairs]), places))

    def _hook(self, name: str) -> Any:
        def hook(_: torch.nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
            if self._alone or self._runs:
                self._add(name, given[0].view(-1, given[0].shape[-1]), out.view(-1, out.shape[-1]))
            return out

        return hook

    def _add(self, name: str, x: torch.Tensor, out: torch.Tensor) -> None:
        for run in self._runs:
            if name in run.stack.tables:
                down, up = run.stack.tables[name]
                _plus(out, run.at, torch.mm(torch.mm(x[run.at], down[run.place]), up[run.place]))
        for number, alone in enumerate(self._alone):
            if name in alone.stack.tables:
                down, up = alone.stack.tables[name]
                low = self._summed(number, alone, x[alone.at], down)
                _plus(out, alone.at, self._summed(number, alone, low, up))

    def _summed(self, number: int, alone: _Alone, x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Each row of x [tokens, in] times its adapter's matrix out of the table [places, in, out]."""
        if x.dtype != torch.float32 or x.device.type != "cpu":
            return torch.bmm(x[:, None], table[alone.places.to(x.device)])[:, 0]
        width = table.shape[1]
        rows = self._rows.get((number, width))
        if rows is None:
            rows = self._rows[number, width] = alone.rows(width)
        return F.embedding_bag(rows, table.view(-1, table.shape[2]), per_sample_weights=x, mode="sum")


def _where(at: list[int]) -> torch.Tensor | slice:
    if at[-1] - at[0] + 1 == len(at):
        return slice(at[0], at[-1] + 1)
    return torch.tensor(at)


def _plus(out: torch.Tensor, at: torch.Tensor | slice, added: torch.Tensor) -> None:
    if isinstance(at, slice):
        out[at] += added
    else:
        out.index_add_(0, at.to(out.device), added)
