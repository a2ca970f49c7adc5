"""Rows of many lengths are written on together: each pass takes the next tokens of all of them as one flat sequence.

Nothing is padded and nothing is computed for a row that has ended; rows come and go between two passes. A row's answer
does not depend on its companions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch

from postil.model.attention import Packed, Unpackable, pack_arguments, takes_packs
from postil.model.cells import Cell, Next, Pass, Prompt, Shared, room_for

Speak = Callable[[Sequence[tuple[Hashable, int, int]]], None]  # (tag, start, end) of tokens of a pass, in their order
# (ids [L], positions [L], what each sees, places that are kept) -> what comes after those [kept, vocabulary]
Forward = Callable[[torch.Tensor, torch.Tensor, Pass, torch.Tensor], torch.Tensor]

_checked: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


class Row:
    """A text under way. `unread` are the tokens that the model has not seen yet."""

    def __init__(self, ids: Sequence[int], cell: Cell, tag: Hashable) -> None:
        self.unread = list(ids)
        self.cell, self.place = cell, 0
        self.tag = tag

    @property
    def read(self) -> int:
        """Tokens that the model has seen."""
        return self.cell.lengths[self.place] + (self.cell.shared.length if self.cell.shared else 0)


class Decoder:
    """The rows that one model is writing.

    longest: tokens that a row may come to have. speak: hears before each pass which of its tokens have which tag.
    forward: the model's pass, if not transformers' own.
    """

    def __init__(
        self, model: Any, device: str, longest: int, speak: Speak = lambda spans: None, forward: Forward | None = None
    ) -> None:
        self._device, self._longest, self._speak = device, longest, speak
        self._forward = forward or partial(_by_transformers, model)
        self._prompts: list[Row] = []  # those that are being read, each in a cell of its own
        self._cells: dict[tuple[int, int], Cell] = {}  # of those that are being written, by room and beginning
        self._rows: dict[int, list[Row]] = {}  # of each such cell, by its id, in the order of their places

    def __len__(self) -> int:
        return len(self._prompts) + sum(map(len, self._rows.values()))

    def read(self, ids: Sequence[int], tag: Hashable = None) -> Shared:
        """Read a beginning once, for rows to share."""
        row = Row(ids, Cell(room_for(len(ids)), None), tag)
        self._pass([(row, len(ids))], [])
        return row.cell.beginning(0, len(ids))

    def add(
        self,
        ids: Sequence[int],
        tag: Hashable = None,
        *,
        behind: Shared | None = None,
        copy: bool = False,
        more: int = 0,
    ) -> Row:
        """A new row, of the tokens `ids` behind a beginning; with `copy` it does not share that with others.

        more: tokens that it is to `hear` when its prompt has been read.
        """
        own = behind if copy else None
        cell = Cell(room_for(len(ids) + more + (own.length if own else 0)), None if copy else behind)
        if own:
            cell.begin_with(own)
        row = Row(ids, cell, tag)
        self._prompts.append(row)
        return row

    def beginning(self, row: Row, length: int) -> Shared | None:
        """A copy of what a row remembers of its first `length` tokens, for others to begin with."""
        return row.cell.beginning(row.place, length)

    def step(self, most: int | None = None) -> tuple[list[Row], torch.Tensor | None]:
        """One pass: the next token of all rows that are written, and of prompts at most `most` tokens together.

        Returns the rows that were read to their end, and what comes next [those rows, vocabulary]. Each of them is to
        be given a token (`row.unread`) or dropped before the next step.
        """
        self._settle()
        writing = [row for rows in self._rows.values() for row in rows]
        prompts, left = [], most if most is not None else sum(len(row.unread) for row in self._prompts)
        for row in self._prompts:
            if left > 0:
                prompts.append((row, min(left, len(row.unread))))
                left -= prompts[-1][1]
        return self._pass(prompts, writing)

    def hear(self, texts: Sequence[tuple[Row, Sequence[int]]]) -> torch.Tensor:
        """Read tokens behind prompts that have just been read, in one pass; what comes after each [tokens, vocabulary].

        The rows are then to be given a token or dropped, or `forget` what they have heard.
        """
        for row, ids in texts:
            row.unread = list(ids)
        _, logits = self._pass([(row, len(ids)) for row, ids in texts], [], every=True)
        assert logits is not None
        return logits

    def forget(self, row: Row, count: int) -> None:
        """Let a row not have read its last `count` tokens, which it has heard."""
        row.cell.lengths[row.place] -= count

    def drop(self, row: Row) -> None:
        """Forget a row."""
        if row in self._prompts:
            self._prompts.remove(row)
        else:
            self._leave(row)

    def _pass(
        self, prompts: Sequence[tuple[Row, int]], writing: Sequence[Row], *, every: bool = False
    ) -> tuple[list[Row], torch.Tensor | None]:
        counts = [(row, 1) for row in writing] + list(prompts)
        ids: list[int] = []
        positions: list[int] = []
        spans: list[tuple[Hashable, int, int]] = []
        done, ends = [], []
        for row, count in counts:
            spans.append((row.tag, len(ids), len(ids) + count))
            positions += range(row.read, row.read + count)
            ids += row.unread[:count]
            if count == len(row.unread):
                done.append(row)
                ends.append(len(ids) - 1)
        self._speak(spans)
        ends = list(range(len(ids))) if every else ends or [0]
        packed = Pass(self._parts(writing, prompts), self._longest)
        logits = self._forward(self._tensor(ids), self._tensor(positions), packed, self._tensor(ends))
        for row, count in counts:
            del row.unread[:count]
            row.cell.lengths[row.place] += count
        return done, logits if done else None

    def _tensor(self, numbers: list[int]) -> torch.Tensor:
        return torch.tensor(numbers, device=self._device)

    def _parts(self, writing: Sequence[Row], prompts: Sequence[tuple[Row, int]]) -> list[Next | Prompt]:
        parts: list[Next | Prompt] = []
        at = 0
        while at < len(writing):
            parts.append(Next.of(writing[at].cell, at, self._device))
            at += len(writing[at].cell.lengths)
        for row, count in prompts:
            parts.append(Prompt(row.cell, at, at + count))
            at += count
        return parts

    # ── cells ──

    def _settle(self) -> None:
        """Let rows that have been read lie with others of about their length, with room for the next token; and those
        that have filled their room, with others of it that soon will: the fewer cells, the fewer products."""
        for row in [row for row in self._prompts if len(row.unread) == 1 and row.read]:
            self._move([row])
            self._prompts.remove(row)
        for cell in list(self._cells.values()):
            if max(cell.lengths) == cell.room:
                soon = (3 * cell.room - room_for(cell.room + 1)) // 2  # half of what the next room has more
                self._move([row for row in self._rows[id(cell)] if cell.lengths[row.place] >= soon])

    def _move(self, rows: Sequence[Row]) -> None:
        """Rows of one cell to one with room for the next token of them all."""
        before = rows[0].cell
        room = room_for(max(before.lengths[row.place] for row in rows) + 1)
        cell = self._cells.get((room, id(before.shared)))
        if cell is None:
            cell = self._cells[room, id(before.shared)] = Cell(room, before.shared)
            cell.lengths.clear()
            self._rows[id(cell)] = []
        places = cell.take(before, [row.place for row in rows])
        for row, place in list(zip(rows, places, strict=True))[::-1]:  # the last one leaves nothing to be moved
            if id(before) in self._rows:
                self._leave(row)
            row.cell, row.place = cell, place
        self._rows[id(cell)] += rows

    def _leave(self, row: Row) -> None:
        rows = self._rows[id(row.cell)]
        row.cell.drop(row.place)
        last = rows.pop()
        if last is not row:
            rows[row.place], last.place = last, row.place
        if not rows:
            del self._rows[id(row.cell)]
            del self._cells[row.cell.room, id(row.cell.shared)]


def _by_transformers(
    model: Any, ids: torch.Tensor, positions: torch.Tensor, packed: Packed, keep: torch.Tensor
) -> torch.Tensor:
    out = model(input_ids=ids[None], logits_to_keep=keep, **pack_arguments(positions[None], packed))
    return out.logits[0]  # type: ignore[no-any-return]


def decodes(model: Any, device: str) -> bool:
    """Whether this model gives what it gives by itself when a `Decoder` drives it; found out once, by trying.

    An architecture that remembers in another way than by keys and values, or attends in another way, does not.
    """
    if model not in _checked:
        _checked[model] = takes_packs(model) and gives_the_same(model, device)
    return _checked[model]


def gives_the_same(model: Any, device: str, forward: Forward | None = None) -> bool:
    """Whether a `Decoder` with this pass gives what the model gives by itself.

    Tried on two rows, of which one is read in two parts behind a beginning that they share, and three tokens are
    written.
    """
    count = min(1000, int(model.config.get_text_config().vocab_size))
    texts = [[(7 * i + 3) % count for i in range(20)], [(7 * i + 3 if i < 9 else 5 * i) % count for i in range(16)]]
    with torch.inference_mode():
        try:
            plain = [model(input_ids=torch.tensor([text], device=device), use_cache=False).logits[0] for text in texts]
            decoder = Decoder(model, device, 20, forward=forward)
            shared = decoder.read(texts[0][:9])
            rows = [decoder.add(text[9:-3], behind=shared) for text in texts]
            found: dict[Row, list[torch.Tensor]] = {row: [] for row in rows}
            while any(len(told) < 4 for told in found.values()):
                _one(decoder, dict(zip(rows, texts, strict=True)), found)
        except (Unpackable, TypeError, AttributeError):
            return False
    bound = 1e-4 if model.dtype == torch.float32 else 3e-2
    return all(
        bool((torch.stack(found[row]) - one[-4:]).abs().max() <= bound * one[-4:].abs().max().clamp(min=1.0))
        for row, one in zip(rows, plain, strict=True)
    )


def _one(decoder: Decoder, texts: dict[Row, list[int]], found: dict[Row, list[torch.Tensor]]) -> None:
    done, logits = decoder.step(most=8)
    for row, next_one in zip(done, [] if logits is None else logits, strict=True):
        found[row].append(next_one)
        if len(found[row]) == 4:
            decoder.drop(row)
        else:
            row.unread = [texts[row][len(found[row]) - 4]]
