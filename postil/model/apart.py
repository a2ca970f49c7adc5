"""Rows of a model that a `Decoder` cannot drive: each by itself, with the memory that transformers gives it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch

from postil.model.attention import Unpackable
from postil.model.cells import Shared
from postil.model.decode import Decoder, Speak, decodes, gives_the_same
from postil.model.lean import Add, Names, lean
from postil.model.panels import lay_out


class LoneRow:
    """A text under way. `unread` are the tokens that the model has not seen yet."""

    def __init__(self, ids: Sequence[int], tag: Hashable) -> None:
        self.unread = list(ids)
        self.seen: list[int] = []
        self.past: Any = None
        self.logits: torch.Tensor | None = None  # what comes next, once all was read
        self.tag = tag


class Apart:
    """Does what a `Decoder` does, a row at a time; beginnings are read anew for each."""

    def __init__(self, model: Any, device: str, speak: Speak) -> None:
        self._model, self._device, self._speak = model, device, speak
        self._rows: list[LoneRow] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self, ids: Sequence[int], tag: Hashable = None, *, behind: Shared | None = None, copy: bool = False
    ) -> LoneRow:
        assert behind is None, "it never gives a beginning"
        self._rows.append(LoneRow(ids, tag))
        return self._rows[-1]

    def step(self, most: int | None = None) -> tuple[list[LoneRow], torch.Tensor | None]:
        """The next token of each row: those rows, and what comes next [rows, vocabulary]."""
        logits = [self._next(row) for row in self._rows]
        return list(self._rows), torch.stack(logits) if logits else None

    def drop(self, row: LoneRow) -> None:
        self._rows.remove(row)

    def beginning(self, row: LoneRow, length: int) -> None:
        """What the row remembers of its first tokens cannot be given to another."""

    def _next(self, row: LoneRow) -> torch.Tensor:
        if not row.unread and row.logits is not None:  # read in a step that failed at another row
            return row.logits
        ids = row.unread if row.past is not None else row.seen + row.unread  # without a memory all is read again
        self._speak([(row.tag, 0, len(ids))])
        given = {} if row.past is None else {"past_key_values": row.past}
        row.past = None  # a pass that fails leaves it half written
        out = self._model(input_ids=torch.tensor([ids], device=self._device), use_cache=True, **given)
        row.seen += row.unread
        row.past, row.unread = getattr(out, "past_key_values", None), []
        row.logits = out.logits[0, -1]
        return row.logits


class Writer(Protocol):
    """What both have in common; their rows differ but for `unread`."""

    def add(
        self, ids: Sequence[int], tag: Hashable = None, *, behind: Shared | None = None, copy: bool = False
    ) -> Any: ...

    def step(self, most: int | None = None) -> tuple[list[Any], torch.Tensor | None]: ...
    def drop(self, row: Any) -> None: ...
    def beginning(self, row: Any, length: int) -> Shared | None: ...


def writer(
    model: Any, device: str, longest: int, linears: Mapping[str, torch.nn.Linear], speak: Speak, add: Add
) -> tuple[Writer, Sequence[Names]]:
    """What can write on rows of this model that grow to `longest` tokens; and which of its `linears` it computes
    together, by path, the others being computed alone.

    add: hears what these layers have read and given, and may add to that.
    """
    if decodes(model, device):
        try:
            Decoder(model, device, longest).read([0])
        except Unpackable:  # a sliding window shorter than that
            pass
        else:
            own = lean(model, linears, add)
            if own is not None and gives_the_same(model, device, own):
                own.let_go()
                return Decoder(model, device, longest, speak, own), own.together
            _listen(model, linears, add)
            return Decoder(model, device, longest, speak), ()
    _listen(model, linears, add)
    return Apart(model, device, speak), ()


def _listen(model: Any, linears: Mapping[str, torch.nn.Linear], add: Add) -> None:
    lay_out(model)
    for name, linear in linears.items():
        linear.register_forward_hook(partial(_added, add, (name,)))


def _added(add: Add, names: Names, _: Any, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
    add(names, given[0].view(-1, given[0].shape[-1]), out.view(-1, out.shape[-1]))
