"""The adapters in memory: those of one shape lie stacked, one tensor for each layer, so that a pass serves them all.

A token reads its own adapter's rows out of the stack; nothing is copied together first. With more adapters than fit,
the one that was used longest ago goes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from postil.errors import AdapterError
from postil.model.adapt import WEIGHTS
from postil.model.boundary import adapter_boundary
from postil.serve.kind import stamp as stamp_of
from postil.serve.lora import Lora, read_lora
from postil.serve.tables import Tables

Shape = tuple[tuple[str, int], ...]
Names = tuple[str, ...]
FEWEST, MOST = 4, 128  # places of a new stack


class Stack:
    """Adapters of one shape. tables: of layers that are computed together, by their names, where some are adapted.

    together: layers by name -> their widths; those of all layers of the base.
    """

    def __init__(self, first: Lora, places: int, device: torch.device, together: Sequence[Mapping[str, int]]) -> None:
        self.tables = {
            tuple(widths): Tables(widths, first.layers, places, device)
            for widths in together
            if widths.keys() & first.layers.keys()
        }
        self._free = list(range(places))[::-1]
        self.places, self.device = places, device

    def put(self, lora: Lora) -> int:
        """Its place in the stack, which is made higher if it is full."""
        if not self._free:
            self._grow(min(self.places, 64))
        place = self._free.pop()
        for tables in self.tables.values():
            tables.put(place, lora.layers)
        return place

    def free(self, place: int) -> bool:
        """Give up a place; whether the stack is empty now."""
        self._free.append(place)
        return len(self._free) == self.places

    def _grow(self, more: int) -> None:
        for tables in self.tables.values():
            tables.grow(more)
        self._free = list(range(self.places, self.places + more))[::-1]
        self.places += more


@dataclass(eq=False)
class Held:
    """An adapter in memory. `users`: answers under way that need it. A dropped one goes when the last has ended."""

    path: Path
    scale: float  # how strongly it speaks: 1 as it was trained
    stack: Stack
    place: int
    bytes: int
    stamp: tuple[int, int]
    users: int = 0
    dropped: bool = False
    voice: object = field(default_factory=object)  # what it was kept under elsewhere


class Shelf:
    """The resident adapters of one base, at most `budget` bytes of them.

    together: which of its linear layers are computed together, by path; the others stand alone.
    """

    def __init__(self, linears: Mapping[str, torch.nn.Linear], budget: int, together: Sequence[Names] = ()) -> None:
        self._linears, self._budget = linears, budget
        joint = {name for names in together for name in names}
        groups = (*together, *((name,) for name in linears if name not in joint))
        self._together = [{name: linears[name].out_features for name in names} for names in groups]
        self._device = next((linear.weight.device for linear in linears.values()), torch.device("cpu"))
        self._held: OrderedDict[tuple[Path, float], Held] = OrderedDict()  # the one used last at the end
        self._leaving: list[Held] = []
        self._stacks: dict[Shape, Stack] = {}

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(path for path, _ in self._held))

    @property
    def bytes(self) -> int:
        return sum(held.bytes for held in (*self._held.values(), *self._leaving))

    def hold(self, path: Path, scale: float = 1.0) -> Held:
        """The adapter in `path` at this strength, read if it is not here or was written anew since.

        Raises AdapterError.
        """
        held = self._held.get((path, scale))
        stamp = stamp_of(path / WEIGHTS)
        if held is not None and held.stamp == stamp:
            self._held.move_to_end((path, scale))
            return held
        if stamp is None:
            raise AdapterError("not_an_adapter", path=str(path))
        with adapter_boundary(path):
            lora = read_lora(path, self._linears).scaled(scale)
            if held is not None:
                self._drop(held)
            self._make_room(lora)
            stack = self._stacks.get(lora.shape)
            if stack is None:
                stack = self._stacks[lora.shape] = Stack(lora, self._places(lora), self._device, self._together)
            held = self._held[path, scale] = Held(path, scale, stack, stack.put(lora), lora.bytes, stamp)
        return held

    def _places(self, lora: Lora) -> int:
        """Of a new stack. On a CPU one costs memory when it is first written, and a stack that grew leaves holes."""
        most = max(FEWEST, min(MOST, self._budget // max(1, lora.bytes)))
        return most if self._device.type == "cpu" else FEWEST

    def use(self, held: Held) -> None:
        held.users += 1

    def leave(self, held: Held) -> None:
        """An answer that used this adapter has ended."""
        held.users -= 1
        if held.dropped and not held.users:
            self._leaving.remove(held)
            self._free(held)

    def drop(self, path: Path) -> list[Held]:
        """Forget an adapter, and return what there was of it; answers under way end with it."""
        found = [held for held in self._held.values() if held.path == path]
        for held in found:
            self._drop(held)
        return found

    def _drop(self, held: Held) -> None:
        del self._held[held.path, held.scale]
        if held.users:
            held.dropped = True
            self._leaving.append(held)
        else:
            self._free(held)

    def _make_room(self, lora: Lora) -> None:
        if lora.bytes > self._budget:
            raise AdapterError("adapter_too_large", path=str(lora.path), bytes=lora.bytes, budget=self._budget)
        while self.bytes + lora.bytes > self._budget:
            idle = next((held for held in self._held.values() if not held.users), None)
            if idle is None:
                raise AdapterError("adapters_busy", path=str(lora.path), n=len(self._held))
            self._drop(idle)

    def _free(self, held: Held) -> None:
        if held.stack.free(held.place):
            self._stacks = {shape: stack for shape, stack in self._stacks.items() if stack is not held.stack}
