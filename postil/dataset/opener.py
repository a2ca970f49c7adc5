"""The child process that opens workbooks and Parquet files: `python -m postil.dataset.opener FORMAT FILE MEMORY`.

It writes one JSON list a line to standard output: what it found, in order, then `["end"]` or `["error", code, values]`.
Whatever a hostile file does to it, only this process dies.
"""

from __future__ import annotations

import json
import sys
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from xml.parsers.expat import ExpatError

from postil.dataset.limits import MAX_CELL, MAX_CELLS, MAX_COLUMNS, MAX_GAP, MAX_ROWS, MAX_UNPACKED
from postil.dataset.numberformat import plain
from postil.dataset.opendocument import read_ods, read_xml2003
from postil.dataset.raw import column_letter
from postil.dataset.webtable import read_web
from postil.dataset.xlsx import Found, read_xlsx
from postil.errors import FileError

_CHUNK = 500
# What the libraries raise for a damaged file. RuntimeError: an unknown compression, too many lists inside each other.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    ExpatError,
    LookupError,
    ValueError,
    ArithmeticError,
    EOFError,
    OSError,
    RuntimeError,
)
_MOST_FINDINGS = 5_000  # of one sheet


def main(kind: str, path: str, memory: int) -> None:
    """Open the file and say what it holds, within `memory` bytes of address space where the system can enforce it."""
    _limit_memory(memory)
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogatepass", newline="\n")  # type: ignore[union-attr]
    try:
        if kind == "parquet":
            _parquet(path)
        else:
            for sheet in _SHEETS[kind](path):
                _tell(sheet)
        _say("end")
    except FileError as error:
        _say("error", error.code, error.values, error.rows)
    except MemoryError:
        _say("error", "file_needs_memory", {}, ())
    except _BROKEN as error:
        _say("error", "file_broken", {"detail": f"{type(error).__name__}: {error}"[:200]}, ())
    sys.stdout.flush()


def _limit_memory(memory: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _say(*message: Any) -> None:
    sys.stdout.write(json.dumps(message, ensure_ascii=False) + "\n")


# ── workbooks ─────────────────────────────────────────────────────────────────────────────────────


def _tell(sheet: Found) -> None:
    _say("sheet", sheet.name, sheet.hidden, sheet.active, sheet.merged)
    _fill_merged(sheet)
    if sum(max(cells) for cells in sheet.rows.values()) > MAX_CELLS:
        raise FileError("too_many_cells", most=MAX_CELLS)  # empty cells before the filled ones count too
    rows: list[tuple[int, list[str]]] = []
    for row in _listed(sheet):
        rows.append(row)
        if len(rows) == _CHUNK:
            _say("rows", rows)
            rows = []
    _say("rows", rows)
    if sheet.hidden_rows or sheet.hidden_columns:
        sheet.findings.issue("hidden_cells", "advice", rows=sheet.hidden_rows, columns=sheet.hidden_columns)
    for issue in sheet.findings.issues[:_MOST_FINDINGS]:
        _say("issue", issue.code, issue.severity, issue.row, issue.cell, {**issue.values, "sheet": sheet.name})
    if len(sheet.findings.issues) > _MOST_FINDINGS:
        more = len(sheet.findings.issues) - _MOST_FINDINGS
        _say("issue", "more_cell_issues", "warning", None, None, {"count": more, "sheet": sheet.name})
    for each in sheet.findings.repaired:
        values = {**each.values, "sheet": sheet.name}
        _say("repair", each.code, each.row, each.before, each.after, each.cell, values)


def _listed(sheet: Found) -> Iterator[tuple[int, list[str]]]:
    """Rows up to the last that holds something. Blank rows between are listed, but for a gap of more than MAX_GAP."""
    last = 0
    for number in sorted(sheet.rows):
        if number - last - 1 > MAX_GAP:
            sheet.findings.issue("blank_gap", "advice", number, rows=number - last - 1)
        else:
            yield from ((blank, []) for blank in range(last + 1, number))
        cells = sheet.rows[number]
        yield number, [cells.get(column, "") for column in range(1, max(cells) + 1)]
        last = number


def _fill_merged(sheet: Found) -> None:
    """A cell merged downwards speaks for each of its rows; one merged over columns is a heading and stays alone."""
    numbers = sorted(sheet.rows)
    if not numbers:
        return
    used = max(max(cells) for cells in sheet.rows.values())
    room = MAX_ROWS  # merged ranges never overlap in an honest sheet
    for top, left, bottom, right in sheet.merged:
        text = sheet.rows.get(top, {}).get(left)
        banner = right > left and (top == 1 or right - left + 1 >= used)
        if not text or bottom <= top or banner:
            continue
        below = numbers[bisect_right(numbers, top) : bisect_right(numbers, bottom)]
        room -= len(below)
        if room < 0:
            raise FileError("too_many_cells", most=MAX_CELLS)
        for number in below:
            sheet.rows[number].setdefault(left, text)
        cell = f"{column_letter(left)}{top}:{column_letter(right)}{bottom}"
        if below:
            sheet.findings.repair("merged_filled", top, text, f"{text} × {len(below) + 1}", cell, last=bottom)


def _with_calamine(path: str) -> Iterator[Found]:
    """.xls and .xlsb. Formats are lost (0.85 stays 0.85), dates are not, and errors look blank: that is told."""
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum, SheetVisibleEnum

    try:
        book = CalamineWorkbook.from_path(path)
        for place, about in enumerate(book.sheets_metadata):
            if about.typ == SheetTypeEnum.WorkSheet:
                found = Found(about.name, hidden=about.visible != SheetVisibleEnum.Visible, active=place == 0)
                _copy(book.get_sheet_by_index(place), found)
                yield found
    except PasswordError:
        raise FileError("file_encrypted") from None
    except CalamineError as error:
        raise FileError("file_broken", detail=str(error)[:200]) from None


def _copy(sheet: Any, found: Found) -> None:
    if sheet.total_height * sheet.total_width > 4 * MAX_CELLS:
        cell = f"{column_letter(min(sheet.total_width, 18_278))}{sheet.total_height}"
        raise FileError("cell_far_away", rows=[sheet.total_height], cell=cell, sheet=found.name)
    fractions: list[tuple[int, int]] = []  # numbers that a format may show otherwise
    for number, cells in enumerate(sheet.iter_rows(), 1):
        texts = {column: plain(value) for column, value in enumerate(cells, 1) if value is not None and value != ""}
        if texts and max(texts) > MAX_COLUMNS:
            raise FileError(
                "cell_far_away", rows=[number], cell=f"{column_letter(max(texts))}{number}", sheet=found.name
            )
        if texts:
            found.rows[number] = texts
        fractions += [(number, c) for c, value in enumerate(cells, 1) if isinstance(value, float) and value % 1]
    if fractions:
        number, column = fractions[0]
        cell = f"{column_letter(column)}{number}"
        shown = found.rows[number][column]
        found.findings.issue("formats_unknown", "warning", number, cell, text=shown, count=len(fractions))
    for (top, left), (bottom, right) in sheet.merged_cell_ranges or []:
        found.merged.append((top + 1, left + 1, bottom + 1, right + 1))


_SHEETS: dict[str, Callable[[str], Iterator[Found]]] = {
    "xlsx": read_xlsx, "xlsm": read_xlsx, "ods": read_ods, "html": read_web, "xml": read_xml2003,
    "xls": _with_calamine, "xlsb": _with_calamine,
}  # fmt: skip


# ── Parquet ───────────────────────────────────────────────────────────────────────────────────────


def _parquet(path: str) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path)
        about = table.metadata
        if about.num_rows > MAX_ROWS:
            raise FileError("too_many_rows", most=MAX_ROWS)
        if sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups)) > MAX_UNPACKED:
            raise FileError("file_bomb")
        number = 0
        for batch in table.iter_batches(batch_size=500, use_threads=False):
            for value in batch.to_pylist():
                number += 1
                if number > MAX_ROWS:
                    raise FileError("too_many_rows", most=MAX_ROWS)
                _say("record", number, _as_json(value, number))
    except arrow.ArrowException as error:
        raise FileError("file_broken", detail=str(error)[:200]) from None


def _as_json(value: Any, row: int) -> Any:
    if isinstance(value, dict):
        return {str(key): _as_json(each, row) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each, row) for each in value]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str) and len(value) > MAX_CELL:
        raise FileError("cell_too_large", rows=[row], row=row, most=MAX_CELL)
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, datetime | date | time | timedelta):
        return plain(value)
    return str(value) if isinstance(value, Decimal) else value


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
