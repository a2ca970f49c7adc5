"""A sheet of questions that wait for answers: which column asks, and in which rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postil.dataset.columns import Cells, find_column, list_columns, look, roles_by_name
from postil.dataset.drafts import blank
from postil.dataset.names import meanings, normal
from postil.dataset.raw import Raw, Sheet, column_letter
from postil.dataset.read import read
from postil.errors import DataError

HEADER_WITHIN = 30  # rows
LONGEST_HEADING = 60  # characters; a system prompt is longer as a rule


@dataclass(frozen=True)
class Questions:
    """questions: row number -> text, in the file's order. empty: rows below the header that ask nothing."""

    questions: Mapping[int, str]
    sheet: str | None = None
    header_row: int | None = None
    column: str | None = None
    empty: int = 0


def questions(
    path: Path, *, sheet: str | None = None, column: str | None = None, known: str | None = None
) -> Questions:
    """The questions in a file. `column`: as the user says; `known`: the header that asked when the model was trained.

    Raises FileError if the file cannot be read, DataError `no_question_column` if nothing in it seems to ask.
    """
    raw = read(Path(path), sheet)
    if raw.records:
        return _of_records([(record.row, record.value) for record in raw.records], column, known)
    if raw.lines:
        asked = {line.number: line.text.strip() for line in raw.lines if not blank(line.text)}
        return Questions(asked, empty=len(raw.lines) - len(asked))
    found = [one for one in (_of_sheet(s, column, known) for s in _sheets(raw.sheets, sheet)) if one]
    if not found:
        rows = [row.cells for s in raw.sheets for row in s.rows[:HEADER_WITHIN]]
        widest = max(rows, key=lambda cells: sum(not blank(cell) for cell in cells), default=())
        raise DataError("no_question_column", columns=list_columns(widest))
    return max(found, key=lambda one: len(one.questions))


def has_column(source: Path | Raw, text: str, sheet: str | None = None) -> bool:
    """Whether `text` is the heading of a column (or a key) in this file, or a letter of one: A, B, ... ZZ."""
    if len(text) > LONGEST_HEADING or "\n" in text:
        return False
    raw = source if isinstance(source, Raw) else read(Path(source), sheet)
    letters = text.strip().upper()
    for one in raw.sheets:
        for row in one.rows[:HEADER_WITHIN]:
            if any(normal(cell) == normal(text) for cell in row.cells if not blank(cell)):
                return True
        if any(column_letter(i + 1) == letters for row in one.rows[:HEADER_WITHIN] for i in range(len(row.cells))):
            return True
    return any(isinstance(record.value, Mapping) and text in record.value for record in raw.records[:HEADER_WITHIN])


def _sheets(sheets: Sequence[Sheet], wanted: str | None) -> Sequence[Sheet]:
    """The sheet that is wanted; else the visible ones, if there are any."""
    if wanted:
        return [s for s in sheets if s.name == wanted]
    return [s for s in sheets if not s.hidden] or sheets


def _of_sheet(sheet: Sheet, column: str | None, known: str | None) -> Questions | None:
    rows = [row.cells for row in sheet.rows]
    place = next(_places(rows, column, known), None)
    if place is None:
        return None
    header, at = place
    below = sheet.rows[header + 1 :] if header is not None else sheet.rows
    asked = {row.number: row.cells[at].strip() for row in below if at < len(row.cells) and not blank(row.cells[at])}
    number = sheet.rows[header].number if header is not None else None
    return Questions(asked, sheet.name, number, column_letter(at + 1), len(below) - len(asked)) if asked else None


def _places(rows: Sequence[Cells], column: str | None, known: str | None) -> Iterator[tuple[int | None, int]]:
    """(header row, column) that may ask, the likeliest first."""
    yield from _headed(rows, column or known)
    if column:
        header = _header(rows)
        yield header, find_column(column, rows[header] if header is not None else rows[0])
        return
    for i, row in enumerate(rows[:HEADER_WITHIN]):
        roles = roles_by_name(row, look(rows[i + 1 :], len(row)))
        if "question" in roles:
            yield i, roles["question"][0]
    width = max((len(row) for row in rows), default=0)
    texts = [at for at, seen in enumerate(look(rows, width)) if seen.text]
    if len(texts) == 1:
        yield _header(rows), texts[0]


def _headed(rows: Sequence[Cells], name: str | None) -> Iterator[tuple[int, int]]:
    """Where a cell near the top is that heading."""
    for i, row in enumerate(rows[:HEADER_WITHIN] if name else ()):
        for at, cell in enumerate(row):
            if name and not blank(cell) and normal(cell) == normal(name):
                yield i, at


def _header(rows: Sequence[Cells]) -> int | None:
    """The first row in which a cell is a heading that we know."""
    for i, row in enumerate(rows[:HEADER_WITHIN]):
        if any(meanings(cell) for cell in row if not blank(cell)):
            return i
    return None


def _of_records(records: Sequence[tuple[int, Any]], column: str | None, known: str | None) -> Questions:
    asked: dict[int, str] = {}
    key = column
    for row, value in records:
        if not isinstance(value, Mapping):
            continue
        names = [column, known] if column or known else []
        by_meaning = [name for name in value if any(role == "question" for role, _ in meanings(str(name)))]
        for name in [*names, *by_meaning]:
            if name in value and isinstance(value[name], str) and not blank(value[name]):
                asked[row], key = value[name].strip(), str(name)
                break
    if not asked:
        keys = dict.fromkeys(str(name) for _, value in records if isinstance(value, Mapping) for name in value)
        raise DataError("no_question_column", columns=", ".join(list(keys)[:40]))
    return Questions(asked, column=key, empty=len(records) - len(asked))
