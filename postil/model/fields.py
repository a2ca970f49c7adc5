"""Answers of a closed form, read field by field: JSON, `key: value`, `A|B|C`, lists, numbers, codes.

The form is told from the answer alone. What a form holds is a bag of (key, value): a path of JSON, the key of a pair,
the place of a column, or no key at all for what stands in a list. Values are compared as people compare them:
full-width signs are half-width ones, and 1,200.50 is 1200.5.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

Form = Literal["json", "columns", "pairs", "list", "number", "code"]

_LONGEST_PIECE = 24  # characters of a number, or of what stands in a list
_LONGEST_KEY = 24  # characters of what stands before a colon
_NEXT_PAIR = re.compile(r"[,，]\s*(?=[^,，:：=]{1,24}[:：=])")
_NO_PAIR = re.compile(r"\w+://|[^:=]*\d:\d")  # an address, a time of day
_NUMBER = re.compile(r"[^\w\s]?\s?[+-]?\d[\d.,'\u202f ]*\s?(?:%|[^\W\d]{1,4}|[^\w\s])?")
_CODE = re.compile(r"(?=.*[\d_\-:/#]|[A-Z]{2})(?!\w+://)[A-Za-z0-9_\-:/#.+]{2,40}")
_SENTENCE = re.compile(r"[。！？!?]|[.](?:\s|$)")
_BULLET = re.compile(r"^\s*(?:[-*•·]|\d+[.)、])\s*")


@dataclass(frozen=True)
class Fields:
    """What an answer of a closed form holds. values: how often each (key, value) is there."""

    form: Form
    values: Counter[tuple[str, str]]

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(key for key, _ in self.values)


def read_fields(text: str, form: Form | None = None) -> Fields | None:
    """The fields of an answer; None where it has no closed form, or not the one that is asked for."""
    for name, read in _FORMS.items():
        if form in (None, name) and (values := read(text.strip())) is not None:
            return Fields(name, Counter((key, _plain(value)) for key, value in values))
    return None


def field_match(reference: str, answer: str) -> float:
    """The share of fields that are right, of those of the reference or of the answer, whichever has more [0..1].

    Where the reference has no closed form, or the answer not the same one, 1 for the same text and 0 for another.
    """
    wanted = read_fields(reference)
    given = read_fields(answer, wanted.form) if wanted else None
    if wanted is None or given is None:
        return float(_plain(reference) == _plain(answer))
    most = max(wanted.values.total(), given.values.total())
    return (wanted.values & given.values).total() / most if most else 1.0


def _json(text: str) -> list[tuple[str, str]] | None:
    if text[:1] not in "{[" or text[-1:] not in "}]":
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return list(_leaves(content, ""))


def _leaves(content: Any, path: str) -> Iterator[tuple[str, str]]:
    """The scalars of JSON with their paths; those of one list stand in no order."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _leaves(value, f"{path}.{key}")
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from _leaves(value, f"{path}[{place}]" if isinstance(value, dict | list) else f"{path}[]")
    else:
        yield path, content if isinstance(content, str) else json.dumps(content)


def _columns(text: str) -> list[tuple[str, str]] | None:
    parts = [part.strip() for part in re.split(r"[|｜\t]", text)]
    return [(str(place), part) for place, part in enumerate(parts)] if len(parts) > 1 and "\n" not in text else None


def _pairs(text: str) -> list[tuple[str, str]] | None:
    parts = [part for part in re.split(r"[\n;；]", text) if part.strip()]
    if len(parts) == 1:  # one line may hold them with commas between
        parts = _NEXT_PAIR.split(text)
    found = [_pair(_BULLET.sub("", part)) for part in parts]
    if not parts or not all(found) or _NO_PAIR.match(text):
        return None
    return [pair for pair in found if pair]


def _pair(text: str) -> tuple[str, str] | None:
    """What stands before the first colon or equals sign, and after it."""
    parts = re.split("[:：=]", text, maxsplit=1)
    key = parts[0].strip()
    return (key, parts[1].strip()) if len(parts) == 2 and 0 < len(key) <= _LONGEST_KEY and "\n" not in key else None


def _number(text: str) -> list[tuple[str, str]] | None:
    return [("", text)] if _NUMBER.fullmatch(text) and len(text) <= _LONGEST_PIECE else None


def _code(text: str) -> list[tuple[str, str]] | None:
    """One token without spaces that no sentence is made of: C-DMA, 2026-12-01, refund_status."""
    return [("", text)] if _CODE.fullmatch(text) else None


def _list(text: str) -> list[tuple[str, str]] | None:
    lines = text.splitlines()
    parts = [_BULLET.sub("", line) for line in lines] if len(lines) > 1 else re.split(r"[,，、;；/]\s*", text)
    short = all(0 < len(part.strip()) <= _LONGEST_PIECE and len(part.split()) <= 3 for part in parts)
    return [("", part) for part in parts] if len(parts) > 1 and short and not _SENTENCE.search(text) else None


_FORMS: Mapping[Form, Callable[[str], list[tuple[str, str]] | None]] = {
    "json": _json,
    "columns": _columns,
    "number": _number,
    "pairs": _pairs,
    "code": _code,
    "list": _list,
}


def _plain(text: str) -> str:
    """A value as it is compared."""
    plain = " ".join(unicodedata.normalize("NFKC", text).split())
    try:
        return str(Decimal(plain.replace(",", "")).normalize()) if plain[:1] in "+-.0123456789" else plain
    except InvalidOperation:
        return plain
