"""What a file holds, before anyone asks what it means: rows of sheets, records of JSON, lines of text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postil.records import Issue, Left, Repair


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table as a person sees it in Excel: `number` counts from 1, header and blank rows included.

    `cells` are the texts that Excel displays; "" is an empty cell. Rows may differ in length.
    """

    number: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """A sheet of a workbook, or the one table of a CSV file. Its last row is not empty; blank rows between are kept.

    `merged` gives each merged range as (first row, first column, last row, last column), all from 1.
    """

    name: str | None  # None: CSV, TSV
    rows: tuple[Row, ...]
    hidden: bool = False
    active: bool = False
    merged: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON or Parquet record after repair. `row`: the line on which it begins; in an array, the element from 1."""

    row: int
    value: Any  # a decoded JSON value: dict, list, str, number, bool, None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a text file, without its line break."""

    number: int
    text: str


@dataclass(frozen=True)
class Raw:
    """A file as it was read. Exactly one of `sheets`, `records`, `lines` is filled; `left` could not be read at all."""

    path: Path
    sha256: str
    format: str  # xlsx xlsm xlsb ods xls html xml csv tsv txt json jsonl parquet
    encoding: str  # UTF-8, UTF-16, UTF-32, GB18030, Big5, ...; "" for workbooks and Parquet
    delimiter: str | None
    sheets: tuple[Sheet, ...] = ()
    records: tuple[Record, ...] = ()
    lines: tuple[Line, ...] = ()
    left: tuple[Left, ...] = ()
    issues: tuple[Issue, ...] = ()
    repaired: tuple[Repair, ...] = ()


@dataclass
class Findings:
    """What a reader notices on its way: problems, repairs, and records that cannot be read."""

    issues: list[Issue] = field(default_factory=list)
    repaired: list[Repair] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    def issue(self, code: str, severity: Any, row: int | None = None, cell: str | None = None, **values: Any) -> None:
        self.issues.append(Issue(code, severity, row, cell, values))

    def repair(
        self, code: str, row: int | None, before: str, after: str, cell: str | None = None, **values: Any
    ) -> None:
        self.repaired.append(Repair(code, row, _short(before), _short(after), cell, values))

    def leave(self, row: int, code: str, **values: Any) -> None:
        self.left.append(Left(row, code, values))


def column_letter(number: int) -> str:
    """The letters of a column that Excel shows: 1 is A, 27 is AA."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _short(text: str, most: int = 2000) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
