"""A file as a person sees it, kept in SQLite so that a page can look at it window by window without reading it again.

Two files: the table (what was read, of the bytes alone) and the findings (what one way of reading it says of its rows).
Both can be made again at any time; what is broken is worth no more than what is not there.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from postil.dataset.corrections import TEXT
from postil.dataset.places import leaves
from postil.dataset.raw import Raw, column_letter
from postil.errors import DataError, FileError
from postil.records import Dataset, Issue, Repair

MOST_ROWS = 500  # of one window
MOST_TEXT = 20_000  # characters of a text that are shown; `length` says how many there are
MOST_COLUMNS = 100
_VERSION = 1
_TABLE = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE rows (sheet INTEGER, place INTEGER, number INTEGER, cells TEXT NOT NULL, PRIMARY KEY (sheet, place));
CREATE INDEX by_number ON rows (sheet, number);
"""
_FINDINGS = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE found (kind TEXT, row INTEGER, code TEXT, told TEXT NOT NULL);
CREATE INDEX by_row ON found (row, kind);
CREATE INDEX by_code ON found (kind, code, row);
"""
_HALF = re.compile("[\ud800-\udfff]")  # half a character is no UTF-8
_ROW_OF = re.compile(r"[A-Z]{1,3}(\d{1,7})")


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


def keep_table(raw: Raw, path: Path) -> None:
    """Write what was read, all sheets of it, to the new file `path`."""
    rows, sheets = _sheets(raw)
    about = {"version": _VERSION, "format": raw.format, "form": _form(raw), "sheets": sheets}
    _write(path, _TABLE, about, "INSERT INTO rows VALUES (?, ?, ?, ?)", rows)


def keep_findings(dataset: Dataset, path: Path) -> None:
    """Write what was found of each row to the new file `path`."""
    across = any(issue.code == "sheet_across" for issue in dataset.issues)
    codes = Counter((issue.code, issue.severity, issue.action is not None) for issue in dataset.issues)
    about = {
        "version": _VERSION, "sheet": dataset.sheet, "header_row": dataset.header_row, "columns": dict(dataset.columns),
        "across": across, "edits": {r.cell: r.after for r in dataset.repaired if r.code == "edited_by_user"},
        "counts": [[*told, count] for told, count in codes.most_common()],
    }  # fmt: skip
    _write(path, _FINDINGS, about, "INSERT INTO found VALUES (?, ?, ?, ?)", _findings(dataset, across))


def _write(path: Path, schema: str, about: Mapping[str, Any], insert: str, rows: Iterable[tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + schema)
        database.execute("BEGIN")
        database.executemany("INSERT INTO about VALUES (?, ?)", [(k, json.dumps(v)) for k, v in about.items()])
        database.executemany(insert, rows)
        database.execute("COMMIT")


def _form(raw: Raw) -> str:
    return "table" if raw.sheets else "records" if raw.records else "lines"


def _sheets(raw: Raw) -> tuple[Iterator[tuple[Any, ...]], list[dict[str, Any]]]:
    if not raw.sheets:
        every = [(r.row, leaves(r.value)) for r in raw.records] or [(n.number, [(TEXT, n.text)]) for n in raw.lines]
        paths = dict.fromkeys(path for _, texts in every[:200] for path, _ in texts)
        rows = ((0, place, number, _json(texts)) for place, (number, texts) in enumerate(every))
        return rows, [{"name": None, "rows": len(every), "columns": list(paths)[:MOST_COLUMNS], "hidden": False}]
    widths = [max((len(row.cells) for row in sheet.rows), default=0) for sheet in raw.sheets]
    sheets = [{"name": sheet.name, "rows": len(sheet.rows), "hidden": sheet.hidden,
               "columns": [column_letter(c + 1) for c in range(min(width, MOST_COLUMNS))]}
              for sheet, width in zip(raw.sheets, widths, strict=True)]  # fmt: skip
    return ((s, place, row.number, _json(row.cells)) for s, sheet in enumerate(raw.sheets)
            for place, row in enumerate(sheet.rows)), sheets  # fmt: skip


def _findings(dataset: Dataset, across: bool) -> Iterator[tuple[Any, ...]]:
    def place(row: int | None, cell: str | None) -> int | None:
        """The row of the sheet that is shown: of a table on its side, a record is a column of it."""
        found = _ROW_OF.fullmatch(cell or "") if across else None
        return int(found[1]) if found else None if across else row

    for issue in dataset.issues:
        told = [issue.code, issue.severity, issue.row, issue.cell, issue.values, issue.action]
        yield "issue", place(issue.row, issue.cell), issue.code, _json(told)
    for repair in dataset.repaired:
        told = [repair.code, repair.row, repair.before, repair.after, repair.cell, repair.values]
        yield "repair", place(repair.row, repair.cell), repair.code, _json(told)
    for kind, every in (("dropped", dataset.dropped), ("not_data", dataset.not_data)):
        for left in every:
            yield kind, place(left.row, None), left.code, _json([left.row, left.code, left.values])


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if _HALF.search(text) else text


# ── looking ───────────────────────────────────────────────────────────────────────────────────────


def window(
    table: Path, findings: Path | None = None, *, sheet: str | None = None, offset: int = 0, limit: int = 50,
    only: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Some rows of a kept table as they are shown, with what was found of each, in the language that is spoken now.

    sheet: the one to show; by default that of the findings, else the first visible one. only: `issues`, or the code of
    an issue: only rows that have it. Raises FileError `sheet_missing`, `kept_broken`; DataError `nothing_found_yet`.
    """
    if only and findings is None:
        raise DataError("nothing_found_yet")
    try:
        with closing(_open(table)) as rows:
            if findings is None:
                return _window(rows, None, sheet, offset, limit, only)
            with closing(_open(findings)) as found:
                return _window(rows, found, sheet, offset, limit, only)
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        raise FileError("kept_broken", detail=str(error)[:100]) from None


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _about(database: sqlite3.Connection) -> dict[str, Any]:
    about = {name: json.loads(value) for name, value in database.execute("SELECT name, value FROM about")}
    if about.get("version") != _VERSION:
        raise ValueError("version")
    return about


def _window(
    rows: sqlite3.Connection, found: sqlite3.Connection | None, sheet: str | None, offset: int, limit: int,
    only: str | None,
) -> dict[str, Any]:  # fmt: skip
    about = _about(rows)
    told = _about(found) if found else None
    index = _chosen(about["sheets"], sheet if sheet is not None or told is None else told["sheet"])
    shown = about["sheets"][index]
    used = found if told and (told["sheet"] is None or told["sheet"] == shown["name"]) else None
    total, places = _places(rows, used, index, shown["rows"], offset, min(limit, MOST_ROWS), only)
    return {
        "format": about["format"], "form": about["form"], "sheet": shown["name"], "total": total, "offset": offset,
        "sheets": [{**one, "columns": len(one["columns"]), "used": bool(told and told["sheet"] == one["name"])}
                   for one in about["sheets"]],
        "header_row": told["header_row"] if told and used else None,
        "columns": _columns(rows, index, shown["columns"], told if used else None),
        "rows": [_row(about["form"], one, len(shown["columns"]), used, told) for one in places],
        "checked": told is not None, "general": [Issue(*one).as_json() for one in _told(found, "issue", None)],
        "counts": _counts(told),
    }  # fmt: skip


def _chosen(sheets: Sequence[Mapping[str, Any]], wanted: str | None) -> int:
    if wanted is None:
        return next((i for i, one in enumerate(sheets) if not one["hidden"] and one["rows"]), 0)
    for i, one in enumerate(sheets):
        if one["name"] == wanted:
            return i
    raise FileError("sheet_missing", sheet=wanted, names=", ".join(str(one["name"]) for one in sheets))


def _places(
    rows: sqlite3.Connection, found: sqlite3.Connection | None, sheet: int, every: int, offset: int, limit: int,
    only: str | None,
) -> tuple[int, list[tuple[int, str]]]:  # fmt: skip
    """How many rows there are to go through, and (number, cells) of those in the window."""
    if not only:
        query = "SELECT number, cells FROM rows WHERE sheet = ? AND place >= ? ORDER BY place LIMIT ?"
        return every, rows.execute(query, (sheet, offset, limit)).fetchall()
    if found is None:
        return 0, []
    code = None if only == "issues" else only
    marked = "FROM found WHERE kind = 'issue' AND row IS NOT NULL AND (? IS NULL OR code = ?)"
    total = found.execute(f"SELECT count(DISTINCT row) {marked}", (code, code)).fetchone()[0]
    query = f"SELECT DISTINCT row {marked} ORDER BY row LIMIT ? OFFSET ?"
    numbers = found.execute(query, (code, code, limit, offset)).fetchall()
    one = "SELECT number, cells FROM rows WHERE sheet = ? AND number = ? ORDER BY place"
    return total, [row for (number,) in numbers for row in rows.execute(one, (sheet, number))]


def _columns(
    rows: sqlite3.Connection, sheet: int, columns: Sequence[str], told: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """The columns with their headings and what they are used for."""
    across = bool(told and told["across"])
    roles = {name: role for role, names in told["columns"].items() for name in names.split(",")} if told else {}
    header = None
    if told and told["header_row"] is not None:
        query = "SELECT cells FROM rows WHERE sheet = ? AND number = ?"
        header = rows.execute(query, (sheet, told["header_row"])).fetchone()
    names = json.loads(header[0]) if header else []
    return [{"at": at, "name": names[i] if i < len(names) else "", "role": None if across else roles.get(at)}
            for i, at in enumerate(columns)]  # fmt: skip


def _row(
    form: str, row: tuple[int, str], width: int, found: sqlite3.Connection | None, told: Mapping[str, Any] | None
) -> dict[str, Any]:
    number, cells = row[0], json.loads(row[1])
    if form == "table":
        cells = [*cells, *[""] * (width - len(cells))][:MOST_COLUMNS]
        texts = [(f"{column_letter(c)}{number}", text) for c, text in enumerate(cells, 1)]
    else:
        texts = [(f"{number}:{path}", text) for path, text in cells]
    edits = told["edits"] if told and found else {}
    state: dict[str, Any] = {"state": "used" if found else None, "code": None}
    for kind in ("dropped", "not_data"):
        for _, code, _ in _told(found, kind, number):
            state = {"state": kind, "code": code}
    repairs = (Repair(*one) for one in _told(found, "repair", number))
    return {
        "number": number, **state, "cells": [_cell(at, text, edits) for at, text in texts],
        "issues": [Issue(*one).as_json() for one in _told(found, "issue", number)],
        "repaired": [repair.as_json() for repair in repairs],
    }  # fmt: skip


def _cell(at: str, text: str, edits: Mapping[str, str]) -> dict[str, Any]:
    shown = edits.get(at, text)
    cell: dict[str, Any] = {"at": at, "text": shown[:MOST_TEXT]}
    if len(shown) > MOST_TEXT:
        cell["length"] = len(shown)
    return {**cell, "before": text[:MOST_TEXT]} if at in edits else cell


def _told(found: sqlite3.Connection | None, kind: str, row: int | None) -> list[list[Any]]:
    if found is None:
        return []
    query = "SELECT told FROM found WHERE row IS ? AND kind = ?"
    return [json.loads(told) for (told,) in found.execute(query, (row, kind))]


def _counts(told: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """How many issues of each code, how many of them a click mends."""
    counts: dict[str, dict[str, Any]] = {}
    for code, severity, fixable, count in told["counts"] if told else ():
        one = counts.setdefault(code, {"code": code, "severity": severity, "count": 0, "fixable": 0})
        one["count"] += count
        one["fixable"] += count if fixable else 0
    return list(counts.values())
