"""Sixty small sheets of all kinds, as shops, desks and offices have them: what `kind_of` must tell apart.

sheets.json holds them by kind: the turns of a row with {0}, {1}, ... for the next words of each list, or whole rows.
Names, goods, rules and prices are invented.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from postil.records import Example, Message

ROWS = 12


def sheets() -> Iterator[tuple[str, str, list[Example]]]:
    """Name, kind and examples of each."""
    for kind, named in json.loads(Path(__file__).with_suffix(".json").read_text("utf-8")).items():
        for name, sheet in named.items():
            yield name, kind, examples_of(_rows(sheet))


def examples_of(rows: Sequence[Sequence[str]]) -> list[Example]:
    """Rows (question, answer, question, answer, ...) as checked examples."""
    roles = cycle(("user", "assistant"))
    return [Example(tuple(Message(next(roles), text) for text in row), (number,)) for number, row in enumerate(rows, 1)]


def _rows(sheet: Mapping[str, Any]) -> list[list[str]]:
    """Lists of different lengths mix well."""
    lines = islice(zip(*map(cycle, sheet.get("words", ())), strict=False), ROWS)
    return sheet.get("rows") or [[turn.format(*line) for turn in sheet["turns"]] for line in lines]
