"""The texts of a record with their addresses, as a correction names them: B7, 12:answer, 12:text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from postil.dataset.corrections import TEXT, as_written
from postil.dataset.raw import Raw, Row, Sheet, column_letter

MOST = 200  # texts of one record that are looked at
DEEP = 6  # lists and objects inside each other


class Places:
    """Where the texts of a file stand. `sheet`: the one that the data is taken from; `across`: it lies on its side."""

    def __init__(self, raw: Raw, sheet: Sheet | None, across: bool = False) -> None:
        self._rows: dict[int, Row] = {} if sheet is None else {row.number: row for row in sheet.rows}
        self._across = across
        self._records: dict[int, Any] = {}
        for record in raw.records:
            self._records.setdefault(record.row, record.value)
        self._lines = {line.number: line.text for line in raw.lines}

    def texts(self, row: int) -> list[tuple[str, str]]:
        """(address, text) of each text of a record."""
        if self._across:
            letter = column_letter(row)
            cells = ((f"{letter}{n}", one.cells[row - 1]) for n, one in self._rows.items() if row <= len(one.cells))
            return list(cells)[:MOST]
        if row in self._rows:
            return [(f"{column_letter(c)}{row}", text) for c, text in enumerate(self._rows[row].cells[:MOST], 1)]
        if row in self._lines:
            return [(f"{row}:{TEXT}", self._lines[row])]
        return [(f"{row}:{path}", text) for path, text in leaves(self._records.get(row))]


def leaves(value: Any) -> list[tuple[str, str]]:
    """(path, text) of each text inside a record, from above: messages.2.content."""
    return list(islice(_leaves(value, "", 0), MOST))


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > DEEP:
        return
    inner = value.items() if isinstance(value, dict) else enumerate(value, 1) if isinstance(value, list) else ()
    for key, each in inner:
        place = f"{path}{key}"
        if isinstance(each, dict | list):
            yield from _leaves(each, f"{place}.", depth + 1)
        else:
            yield place, as_written(each)
