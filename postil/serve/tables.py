"""The two small matrices of many adapters, for linear layers that read the same input: q, k and v, say.

What is read for one adapter lies together, so that a token's update of all these layers is two weighted sums of table
rows: one down to the r of all of them, one up to what they give side by side. For that their columns are cut into
pieces of one width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import gcd

import torch

Matrices = tuple[torch.Tensor, torch.Tensor]  # down [in, r], up [r, out]


@dataclass(frozen=True)
class Layer:
    """An adapted layer: where it stands among those that are computed together."""

    name: str
    low: slice  # of the r of all
    columns: slice  # of what the layers give
    rows: slice  # of an adapter's rows of pieces
    r: int


@dataclass(frozen=True)
class Cut:
    """How columns are cut. widths, ranks: of each layer in their order; r is 0 where it is not adapted."""

    widths: tuple[int, ...]
    ranks: tuple[int, ...]

    @property
    def width(self) -> int:
        return gcd(*self.widths)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Of each layer: how many it has, and r."""
        return ((out // self.width, r) for out, r in zip(self.widths, self.ranks, strict=True))

    def starts(self) -> torch.Tensor:
        """[pieces]: the first row of each; it has r of them."""
        counts = torch.tensor([r for pieces, r in self.pieces() for _ in range(pieces)])
        return counts.cumsum(0) - counts

    def picks(self) -> torch.Tensor:
        """[rows]: which of the r of all weighs each."""
        ends = torch.tensor(self.ranks).cumsum(0).tolist()
        return torch.cat([
            torch.arange(end - r, end).repeat(pieces) for end, (pieces, r) in zip(ends, self.pieces(), strict=True)
        ])  # fmt: skip

    def layers(self, names: tuple[str, ...]) -> Iterator[Layer]:
        low = column = row = 0
        for name, (pieces, r) in zip(names, self.pieces(), strict=True):
            ends = low + r, column + pieces * self.width, row + pieces * r
            if r:
                yield Layer(name, slice(low, ends[0]), slice(column, ends[1]), slice(row, ends[2]), r)
            low, column, row = ends


class Tables:
    """down [places, in, r of all]; up [places, rows, width]: r rows for each piece of the columns.

    widths: of the layers by name, in the order in which they are computed together. like: an adapter's matrices.
    """

    def __init__(
        self, widths: Mapping[str, int], like: Mapping[str, Matrices], places: int, device: torch.device
    ) -> None:
        self.cut = Cut(tuple(widths.values()), tuple(like[one][0].shape[1] if one in like else 0 for one in widths))
        self.layers = tuple(self.cut.layers(tuple(widths)))
        self.picks = self.cut.picks() if len(widths) > 1 else None  # None: each row is weighed by its own
        some = like[self.layers[0].name][0]
        # not written, and so not yet in memory
        self.down = some.new_empty((places, len(some), sum(self.cut.ranks)), device=device)
        self.up = some.new_empty((places, self.layers[-1].rows.stop, self.cut.width), device=device)

    def put(self, place: int, layers: Mapping[str, Matrices]) -> None:
        for layer in self.layers:
            down, up = layers[layer.name]
            self.down[place, :, layer.low] = down
            self.up[place, layer.rows] = up.view(layer.r, -1, self.cut.width).transpose(0, 1).flatten(0, 1)

    def up_of(self, layer: Layer, places: torch.Tensor | int) -> torch.Tensor:
        """The layer's own matrix [r, out] for a place, or [tokens, r, out] for the places of tokens."""
        up = self.up[places, layer.rows]
        return up.view(*up.shape[:-2], -1, layer.r, self.cut.width).transpose(-2, -3).flatten(-2)

    def grow(self, more: int) -> None:
        self.down = _grown(self.down, more)  # one after the other: only one is there twice at a time
        self.up = _grown(self.up, more)


def _grown(table: torch.Tensor, more: int) -> torch.Tensor:
    grown = table.new_empty((len(table) + more, *table.shape[1:]))
    grown[: len(table)] = table
    return grown
