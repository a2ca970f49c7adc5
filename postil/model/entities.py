"""Pieces that are marked in a text, in the one form in which they go through the house.

The answer of a tagging example is a JSON list of {"start", "end", "type", "text"}: characters [start, end) of the
question, in order, none over another. This file reads and writes that form and BIO tags. It needs no model library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

OUTSIDE = "O"
# What carries one tag: a character of a script without spaces, a run of letters, a run of digits, or one other sign.
_UNIT = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af]|\d+|[^\W\d_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af]+|\S"
)


@dataclass(frozen=True, slots=True, order=True)
class Entity:
    """Characters [start, end) of a text, which are `text`, and what they are."""

    start: int
    end: int
    type: str
    text: str


def read_entities(answer: str) -> list[Entity] | None:
    """The entities that an answer lists, in order; None when it is not the form above."""
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, list):
        return None
    found = []
    for one in told:
        if not isinstance(one, dict) or set(one) != {"start", "end", "type", "text"}:
            return None
        start, end, kind, text = one["start"], one["end"], one["type"], one["text"]
        if type(start) is not int or type(end) is not int or not isinstance(kind, str) or not isinstance(text, str):
            return None
        found.append(Entity(start, end, kind, text))
    return sorted(found)


def write_entities(entities: Iterable[Entity]) -> str:
    """The answer that lists these entities, in order."""
    return json.dumps([asdict(entity) for entity in sorted(entities)], ensure_ascii=False)


def fault_of(entities: Sequence[Entity], text: str) -> str | None:
    """What is wrong with the entities of a text: spans_do_not_fit, spans_overlap, span_inside_word; None: nothing."""
    last = 0
    units = units_of(text)
    starts, ends = {start for start, _ in units}, {end for _, end in units}
    for entity in sorted(entities):
        if not entity.text or text[max(0, entity.start) : entity.end] != entity.text:
            return "spans_do_not_fit"
        if entity.start < last:
            return "spans_overlap"
        if entity.start not in starts or entity.end not in ends:
            return "span_inside_word"
        last = entity.end
    return None


def units_of(text: str) -> list[tuple[int, int]]:
    """The places [start, end) of the pieces of `text` that carry one tag each."""
    return [found.span() for found in _UNIT.finditer(text)]


def to_tags(entities: Sequence[Entity], units: Sequence[tuple[int, int]]) -> list[str]:
    """The BIO tag of each unit."""
    tags = [OUTSIDE] * len(units)
    for entity in entities:
        inside = [i for i, (start, end) in enumerate(units) if entity.start <= start and end <= entity.end]
        for place, i in enumerate(inside):
            tags[i] = f"{'I' if place else 'B'}-{entity.type}"
    return tags


def from_tags(tags: Sequence[str], units: Sequence[tuple[int, int]], text: str) -> list[Entity]:
    """The entities that BIO tags (also BIOES, BILOU) mark. An I without its B begins one, as seqeval has it."""
    found: list[Entity] = []
    kind, start, end = "", 0, 0

    def close() -> None:
        if kind:
            found.append(Entity(start, end, kind, text[start:end]))

    for tag, (begin, stop) in zip(tags, units, strict=True):
        mark, _, name = tag.partition("-")
        if mark in ("O", "") or not name:
            close()
            kind = ""
        elif mark in ("I", "M", "E", "L") and name == kind:
            end = stop
        else:
            close()
            kind, start, end = name, begin, stop
        if mark in ("E", "L", "S", "U"):
            close()
            kind = ""
    close()
    return found


def types_in(answers: Iterable[str]) -> list[str]:
    """The types of all entities in these answers, sorted."""
    return sorted({entity.type for answer in answers for entity in read_entities(answer) or ()})
