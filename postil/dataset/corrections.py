"""What a person has put right in a file, applied to what was read: the file itself is never touched.

A text goes by its address: B7 in a table, as Excel shows it; in JSON and Parquet the row and the path to the text,
`12:answer` or `12:messages.2.content` (places in a list from 1); in plain text the line, `12:text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from postil.dataset.limits import MAX_CELL
from postil.dataset.names import meanings
from postil.dataset.raw import Line, Raw, Record, Row, Sheet, column_letter
from postil.errors import DataError, FileError
from postil.records import Issue, Left, Repair

TEXT = "text"  # the path of a line of text
ROLES = {  # words that stand for the key of such a role, where a record has no key of that name
    "question": ("question", "instruction", "input"), "answer": ("answer",), "system": ("system",),
}  # fmt: skip
_CELL = re.compile(r"([A-Z]{1,3})([1-9]\d{0,6})")
_PATH = re.compile(r"([1-9]\d{0,6}):(.{1,400})", re.S)


@dataclass(frozen=True)
class Corrected:
    """A file as it would read if its owner had put it right. `done`: each edit, as a repair that a person made."""

    raw: Raw
    done: tuple[Repair, ...] = ()


def read_reading(path: Path) -> dict[str, Any]:
    """How a file is to be read, and what was put right in it: {"edits": {"B7": "..."}, "without": [3], "mask": true} as
    `postil check --save-edits` writes it, and sheet, columns, system and instruction where they are told.

    Raises FileError `file_missing`, `edits_broken`.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileError("file_missing", path=str(path)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise FileError("edits_broken", path=str(path), detail=str(error)[:100]) from None
    if not isinstance(told, dict) or not set(told) <= set(_FORMS) or not all(_FORMS[k](v) for k, v in told.items()):
        raise FileError("edits_broken", path=str(path), detail=", ".join(_FORMS))
    return told


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


_FORMS: Mapping[str, Callable[[Any], bool]] = {
    "edits": _texts,
    "without": lambda value: isinstance(value, list) and all(type(row) is int for row in value),
    "mask": lambda value: isinstance(value, bool),
    "sheet": lambda value: isinstance(value, str),
    "columns": _texts,
    "system": lambda value: isinstance(value, str),
    "instruction": lambda value: isinstance(value, str),
}


# ── edits ─────────────────────────────────────────────────────────────────────────────────────────


def edited(raw: Raw, sheet: Sheet | None, edits: Mapping[str, str]) -> Corrected:
    """What was read, with these texts in their places. `sheet`: the one of `raw` that its data is taken from.

    Raises DataError `edit_not_there` for an address that the file does not have, `edit_not_text`, `edit_too_long`.
    """
    if not edits:
        return Corrected(raw)
    for place, text in edits.items():
        if len(text) > MAX_CELL:
            raise DataError("edit_too_long", cell=place[:80], most=MAX_CELL)
    if sheet is not None:
        return _in_sheet(raw, sheet, edits)
    return _in_records(raw, edits) if raw.records else _in_lines(raw, edits)


def _in_sheet(raw: Raw, sheet: Sheet, edits: Mapping[str, str]) -> Corrected:
    at = {row.number: i for i, row in enumerate(sheet.rows)}
    letters = {column_letter(c + 1): c for c in range(max((len(row.cells) for row in sheet.rows), default=0))}
    rows, done = list(sheet.rows), []
    for place, text in edits.items():
        found = _CELL.fullmatch(place)
        if found is None or int(found[2]) not in at or found[1] not in letters:
            raise DataError("edit_not_there", cell=place[:80])
        i, column = at[int(found[2])], letters[found[1]]
        cells = [*rows[i].cells, *[""] * (column + 1 - len(rows[i].cells))]
        done += _done(rows[i].number, place, cells[column], text)
        cells[column] = text
        rows[i] = Row(rows[i].number, tuple(cells))
    issues = tuple(one for one in raw.issues if not (one.cell in edits and of_sheet(one, sheet.name)))
    mended = replace(sheet, rows=tuple(rows))
    sheets = tuple(mended if one is sheet else one for one in raw.sheets)
    return Corrected(replace(raw, sheets=sheets, issues=issues), tuple(done))


def _in_records(raw: Raw, edits: Mapping[str, str]) -> Corrected:
    first: dict[int, int] = {}
    for i, record in enumerate(raw.records):
        first.setdefault(record.row, i)
    records, done = list(raw.records), []
    copied: set[int] = set()
    for place, text in edits.items():
        found = _PATH.fullmatch(place)
        if found is None or int(found[1]) not in first:
            raise DataError("edit_not_there", cell=place[:80])
        i = first[int(found[1])]
        if i not in copied:
            records[i] = Record(records[i].row, deepcopy(records[i].value))
            copied.add(i)
        holder, key = _holder(records[i].value, found[2]) or _new_key(records, i, found[2]) or (None, None)
        if holder is None:
            raise DataError("edit_not_there", cell=place[:80])
        before = holder.get(key) if isinstance(holder, dict) else holder[key]
        if isinstance(before, dict | list):
            raise DataError("edit_not_text", cell=place[:80])
        done += _done(records[i].row, place, as_written(before), text)
        holder[key] = text
    return Corrected(replace(raw, records=tuple(records)), tuple(done))


def _in_lines(raw: Raw, edits: Mapping[str, str]) -> Corrected:
    at = {line.number: i for i, line in enumerate(raw.lines)}
    lines, done = list(raw.lines), []
    for place, text in edits.items():
        found = _PATH.fullmatch(place)
        if found is None or int(found[1]) not in at or found[2] != TEXT or "\n" in text:
            raise DataError("edit_not_there", cell=place[:80])
        i = at[int(found[1])]
        done += _done(lines[i].number, place, lines[i].text, text)
        lines[i] = Line(lines[i].number, text)
    return Corrected(replace(raw, lines=tuple(lines)), tuple(done))


def _done(row: int, place: str, before: str, after: str) -> list[Repair]:
    return [Repair("edited_by_user", row, before, after, place)] if before != after else []


def as_written(value: Any) -> str:
    """A value of JSON that is no list or object, as a text."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _holder(value: Any, path: str) -> tuple[Any, Any] | None:
    """The object or list that holds the text at `path`, and its key there. A key may have dots of its own."""
    if isinstance(value, dict) and path in value:
        return value, path
    head, dot, rest = path.partition(".")
    if isinstance(value, list):
        place = int(head) - 1 if head.isascii() and head.isdigit() else -1
        if not 0 <= place < len(value):
            return None
        return _holder(value[place], rest) if dot else (value, place)
    while dot:
        if isinstance(value, dict) and head in value:
            return _holder(value[head], rest)
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


def _new_key(records: Sequence[Record], i: int, path: str) -> tuple[Any, str] | None:
    """A key that this record lacks and others have; or the key of a role, under its plain name."""
    value = records[i].value
    if not isinstance(value, dict):
        return None
    named = list(_named(value, path))
    if not named:
        others = [record.value for record in records if isinstance(record.value, dict)]
        if any(path in other for other in others):
            return value, path
        named = [key for other in others for key in _named(other, path)][:1]
    return (value, named[0]) if named else None


def _named(value: Mapping[str, Any], role: str) -> Iterator[str]:
    for wanted in ROLES.get(role, ()):
        yield from (key for key in value if any(meant == wanted for meant, _ in meanings(str(key))))


# ── rows left out ─────────────────────────────────────────────────────────────────────────────────


def check_rows(without: Sequence[int], there: Sequence[int]) -> frozenset[int]:
    """The rows to leave out. Raises DataError `row_not_there` for those that the file does not have."""
    wanted = frozenset(without)
    missing = sorted(wanted - set(there))
    if missing:
        raise DataError("row_not_there", rows=missing, row=", ".join(map(str, missing[:10])))
    return wanted


def left_out(row: int) -> Left:
    return Left(row, "left_out_by_user")


def of_sheet(one: Issue | Repair, sheet: str | None) -> bool:
    """Whether a finding of the reader is about this sheet: only workbooks name theirs."""
    return bool(one.values.get("sheet", sheet) == sheet)
