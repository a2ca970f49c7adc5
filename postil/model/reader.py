"""Texts as a model with labels reads them: in training, in evaluation and in serving in this one way.

seq_cls, decoder: what the model's own chat template writes to ask for the answer (system prompt, question, earlier
turns). Its last token is where the base would begin to answer, and so where it has thought most about the question;
that is where the label is read. seq_cls, encoder: all messages, each on a line, between the tokenizer's own marks.

token_cls: the user's last message alone, since what is marked are its characters. Each unit (a Chinese character, a
word: see `entities.units_of`) is made into tokens by itself, so that every mark can be said. A unit is labelled at its
last token, where a decoder knows all of it. A decoder reads the text twice and is asked the second time: it sees
nothing that comes later, and whether 海 begins a product is decided by what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from postil.errors import DataError
from postil.model.entities import fault_of, read_entities, to_tags, units_of
from postil.model.marks import Marks, words_of
from postil.model.template import Span, Template, Tokens
from postil.records import Example, Message


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a model with labels reads at once: at `places` it is asked for `targets`, numbers of labels.

    For a label of the whole text there is one place, the last.
    """

    ids: tuple[int, ...]
    places: tuple[int, ...]
    targets: tuple[int, ...]
    rows: tuple[int, ...] = ()


class Reader(Template):
    """How the texts of a task with labels become tokens. It has no answers to write, and so no end of a turn."""

    def __init__(self, tokenizer: Any, task: str, *, encoder: bool, thinking: bool = False) -> None:
        self.task, self.encoder = task, encoder
        if encoder:
            self.tokenizer, self.thinking, self.identity = tokenizer, thinking, ""
            self._marks = Marks(tokenizer, lambda: words_of(tokenizer, "", ()))
            self.own = self.folds_system = False
            self.end_text, self.end_id, self.stop_ids = None, None, ()
        else:
            super().__init__(tokenizer, thinking=thinking)

    @property
    def each_token(self) -> bool:
        """Whether the units of a text are labelled, else all of it at once."""
        return self.task == "token_cls"

    @property
    def padding(self) -> int | None:
        """The token that an encoder pads with: some tell positions by it. None: see `labelling`."""
        return (self.tokenizer.pad_token_id or 0) if self.encoder else None

    # ── tokens ──

    def read(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """The tokens of a question, and the places at which the model is asked for labels."""
        if self.each_token:
            return self._marked(marked_text(messages))
        if self.encoder:
            text = "\n".join(message.content for message in messages)
            ids = self.text_ids(text, add_special_tokens=True)
        else:
            ids = self.prompt(messages)
        return ids, [len(ids) - 1]

    def _marked(self, text: str) -> tuple[list[int], list[int]]:
        pieces = []
        last = 0
        for _, end in units_of(text):
            pieces.append(self._unit(text[last:end]))
            last = end
        before, after = self._around()
        ids = list(before)
        if not self.encoder:
            ids += [i for piece in pieces for i in piece] + self._encode("\n")
        places = []
        for piece in pieces:
            ids += piece
            places.append(len(ids) - 1)
        return ids + after, places

    def _unit(self, text: str) -> list[int]:
        """At least one token: what a tokenizer knows nothing of (it may drop odd signs) is its unknown token."""
        ids = self.text_ids(text)
        if ids:
            return ids
        unknown = self.tokenizer.convert_tokens_to_ids(getattr(self.tokenizer, "unk_token", None) or "?")
        return [unknown if isinstance(unknown, int) else 0]

    def _around(self) -> tuple[list[int], list[int]]:
        """The tokenizer's own marks at the beginning and at the end of a text."""
        inner = self._encode("x")
        whole = list(self.tokenizer.encode("x", add_special_tokens=True))
        for at in range(len(whole) - len(inner) + 1):
            if whole[at : at + len(inner)] == inner:
                return whole[:at], whole[at + len(inner) :] if self.encoder else []
        return [], []

    # ── examples ──

    def labelled(self, example: Example, labels: Sequence[str]) -> Labelled:
        """An example with the numbers of its labels.

        Raises DataError `labels_unknown` when it has one that is not among `labels`.
        """
        ids, places = self.read(example.question)
        wanted = self._wanted(example)
        strange = sorted(set(wanted) - set(labels))
        if strange:
            raise DataError("labels_unknown", labels=", ".join(strange[:10]), rows=list(example.rows))
        return Labelled(tuple(ids), tuple(places), tuple(labels.index(label) for label in wanted), example.rows)

    def _wanted(self, example: Example) -> list[str]:
        if not self.each_token:
            return [example.answer.strip()]
        return to_tags(read_entities(example.answer) or (), units_of(marked_text(example.question)))

    def sequences(self, example: Example) -> list[Tokens]:
        """The one sequence of an example; where a label is learned, its weight is 1."""
        ids, places = self.read(example.question)
        weights = [0.0] * len(ids)
        for place in places:
            weights[place] = 1.0
        return [Tokens(tuple(ids), tuple(weights), (Span(len(ids) - 1, len(ids), example.answer),), example.rows)]

    def causes(self, example: Example, sequences: Sequence[Tokens], max_length: int) -> list[str]:
        """What is wrong with an example: cut, nothing_to_label, spans_unreadable, and those of `entities.fault_of`."""
        found = ["cut"] if any(len(one.ids) > max_length for one in sequences) else []
        if not all(any(one.weights) for one in sequences):
            found.append("nothing_to_label")
        if self.each_token:
            entities = read_entities(example.answer)
            fault = "spans_unreadable" if entities is None else fault_of(entities, marked_text(example.question))
            found += [fault] if fault else []
        return found


def marked_text(messages: Sequence[Message]) -> str:
    """The text of which the characters are marked: what the user said last."""
    return next((message.content for message in reversed(messages) if message.role == "user"), "")
