"""Writing .xlsx with care: texts stay texts, the user's own workbook keeps what can be kept, no half-written file."""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
import zlib
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile, ZipFile, is_zipfile

from postil.dataset.limits import MB
from postil.dataset.raw import Raw
from postil.errors import FileError
from postil.locales import say

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.cell.cell import Cell, MergedCell
    from openpyxl.worksheet.worksheet import Worksheet

MAX_OWN_BYTES = 20 * MB  # a larger workbook is not loaded whole: openpyxl needs about fifty times its size
MAX_OWN_UNPACKED = 400 * MB
MAX_SHEET_ROWS = 1_048_576
MAX_TEXT = 32_767  # characters of one cell, Excel's own limit

# What openpyxl raises on a workbook that calamine could read but it cannot: odd styles, missing parts,
# XML that is not well formed (a SyntaxError).
UNREADABLE = (BadZipFile, zlib.error, SyntaxError, KeyError, ValueError, TypeError, IndexError, AttributeError)

# Parts inside a workbook that may be lost when it is written again, by the word in `marks.lost.<word>`.
PARTS = {
    "macros": "xl/vbaProject.bin", "charts": "xl/charts/chart", "images": "xl/media/", "pivots": "xl/pivotTables/",
    "links": "xl/externalLinks/externalLink", "controls": "xl/ctrlProps/", "controls_activex": "xl/activeX/",
    "slicers": "xl/slicers/", "threads": "xl/threadedComments/", "queries": "xl/connections.xml",
    "signature": "_xmlsignatures/",
}  # fmt: skip

_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ADDRESS = re.compile(r"\$?([A-Z]{1,3})\$?([1-9][0-9]{0,6})")
_LEADS = tuple("=+-@\t\r\n＝＋－＠")  # a spreadsheet may take a text that begins so for a formula


def plain(text: str) -> str:
    """`text` without what a workbook cannot hold: control characters and lone surrogates show as U+FFFD.

    Longer than a cell may be, it ends in an ellipsis.
    """
    text = _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def put_text(cell: Cell, text: str) -> Cell:
    """Write `text` as text: never a formula, number or error, whatever it begins with. It reads back unchanged."""
    cell.value = plain(text) or None
    if text:
        cell.data_type = "s"  # openpyxl has made "=..." a formula and "#N/A" an error
        if text.startswith(_LEADS) or text.lstrip().startswith(_LEADS):
            cell.quotePrefix = True  # Excel shows it as if typed with a leading apostrophe
    return cell


def cell_at(sheet: Worksheet, row: int, column: int) -> Cell:
    """The cell at this row and column, both from 1; not the inside of a merged range."""
    from openpyxl.cell.cell import Cell

    cell = sheet.cell(row, column)
    assert isinstance(cell, Cell), "the inside of a merged range takes no text"
    return cell


def dress_as(cell: Cell, other: Cell | MergedCell) -> None:
    """Give `cell` the looks of another one: font, colour, border, alignment."""
    cell._style = copy(other._style)  # type: ignore[attr-defined, union-attr]


def address(cell: str | None) -> tuple[str, int] | None:
    """("B", 7) for "B7" and for a range that begins there; None for what is no address, such as a key of a record."""
    found = _ADDRESS.fullmatch(cell.partition(":")[0]) if cell else None
    return (found[1], int(found[2])) if found else None


# ── the user's own workbook ───────────────────────────────────────────────────────────────────────


def parts(path: Path) -> dict[str, int]:
    """How many charts, images, macros ... lie in the zip directory of a workbook."""
    with ZipFile(path) as packed:
        names = packed.namelist()
    return {word: sum(name.startswith(start) for name in names) for word, start in PARTS.items()}


def is_own(path: Path) -> bool:
    """Whether the file is a workbook that openpyxl may write again: .xlsx or .xlsm by its content, not too large.

    Too large is above 20 MB, or above 400 MB unpacked.
    """
    if not is_zipfile(path) or path.stat().st_size > MAX_OWN_BYTES:
        return False
    with ZipFile(path) as packed:
        entries = packed.infolist()
    return any(entry.filename == "xl/workbook.xml" for entry in entries) and (
        sum(entry.file_size for entry in entries) <= MAX_OWN_UNPACKED
    )


def open_own(path: Path, keep_macros: bool) -> tuple[Workbook | None, list[str]]:
    """The user's workbook with its formulas, and the words of what openpyxl dropped while reading.

    None when openpyxl cannot make sense of it, though a reader of values can.
    """
    from openpyxl import load_workbook

    with warnings.catch_warnings(record=True) as heard, path.open("rb") as content:
        warnings.simplefilter("always")
        try:
            book = load_workbook(content, keep_vba=keep_macros, rich_text=True)
        except UNREADABLE:
            return None, ["format"]
    if not book.worksheets:
        return None, ["format"]
    book.template = False
    lost = ["extensions"] if any("extension is not supported" in str(w.message) for w in heard) else []
    if any(cell.data_type == "f" for sheet in book.worksheets for row in sheet.iter_rows() for cell in row):
        lost.append("cached")
    return book, lost


def lost_parts(before: Path, after: Path) -> list[str]:
    """The words of the parts of which the second workbook has fewer than the first."""
    then, now = parts(before), parts(after)
    return [word.partition("_")[0] for word in PARTS if now[word] < then[word]]


def told(words: Iterable[str], lang: str | None) -> tuple[str, ...]:
    """The sentences for what was not carried over, each once."""
    return tuple(say(f"marks.lost.{word}", lang) for word in dict.fromkeys(words))


# ── a new workbook from any other file ────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Grid:
    """The rows of a file as they stand in a new sheet.

    `rows` gives (row number in the user's file, texts). Of a table, the row number is the sheet's own; of records and
    lines, the sheet has a `header` and the row number stands in column A.
    """

    header: tuple[str, ...] | None
    rows: Iterable[tuple[int, tuple[str, ...]]]
    name: str | None = None

    def in_place(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The rows one below the other, as the sheet shows them: the header first, blank rows where they were."""
        if self.header is not None:
            yield 0, self.header
            for number, texts in self.rows:
                yield number, (str(number), *texts)
            return
        expected = 1
        for number, texts in self.rows:
            for blank in range(expected, number):
                yield blank, ()
            yield number, texts
            expected = number + 1


def grid(raw: Raw, sheet: str | None, lang: str | None) -> Grid:
    """What was read, as a grid: the sheet named, else the first; or records with one column a key; or lines."""
    first = say("marks.row_number", lang)
    if raw.sheets:
        chosen = next((s for s in raw.sheets if s.name == sheet), raw.sheets[0])
        return Grid(None, [(row.number, row.cells) for row in chosen.rows], chosen.name)
    if raw.records:
        keys = dict.fromkeys(key for record in raw.records for key in _fields(record.value))
        rows = [
            (record.row, tuple(_shown(_fields(record.value).get(key, "")) for key in keys)) for record in raw.records
        ]
        return Grid((first, *keys), rows)
    return Grid((first, say("marks.text", lang)), [(line.number, (line.text,)) for line in raw.lines])


def _fields(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"": value}


def _shown(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


# ── the file ──────────────────────────────────────────────────────────────────────────────────────


def check_target(source: Path, target: Path) -> Literal["xlsx", "xlsm"]:
    """The format to write. Raises FileError when the target is the source, or no Excel name, or has no folder."""
    if target.exists() and target.samefile(source):
        raise FileError("output_is_input", path=str(target))
    if not target.parent.is_dir():
        raise FileError("output_no_folder", path=str(target.parent))
    suffix = target.suffix.lower()
    if suffix == ".xlsm" and source.suffix.lower() == ".xlsm":
        return "xlsm"
    if suffix != ".xlsx":
        raise FileError("output_not_xlsx", path=str(target))
    return "xlsx"


def check_new(target: Path) -> None:
    """Raises FileError when a new workbook would get the name of one with macros: Excel would not open it."""
    if target.suffix.lower() != ".xlsx":
        raise FileError("output_not_xlsx", path=str(target))


def save(book: Workbook, target: Path) -> None:
    """Write the workbook beside the target, then put it in its place: a reader sees the old file or the new one."""
    handle, name = tempfile.mkstemp(prefix=".postil-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        book.save(temporary)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    except PermissionError as error:  # Windows: the target is open in Excel
        raise FileError("output_not_writable", path=str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)
