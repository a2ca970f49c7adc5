"""Web pages with tables: what many back offices export under the name .xls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from postil.dataset.encoding import decode
from postil.dataset.limits import MAX_CELL, MAX_COLUMNS, MAX_ROWS
from postil.dataset.raw import Findings
from postil.dataset.xlsx import Found
from postil.errors import FileError

_BREAKS = frozenset(("br", "p", "div", "li"))
_SILENT = frozenset(("script", "style", "title"))
_SPACE = re.compile(r"[ \t\r\n\xa0]+")


def read_web(path: str) -> Iterator[Found]:
    """The tables of a page, each as a sheet. Raises FileError `file_is_web_page` if there is none with two columns."""
    text, _ = decode(Path(path).read_bytes(), Findings())
    page = _Page()
    page.feed(text)
    page.close()
    tables = [table.found for table in page.tables if any(len(cells) > 1 for cells in table.found.rows.values())]
    if not tables:
        raise FileError("file_is_web_page", path=Path(path).name)
    tables[0].active = True
    yield from tables


class _Table:
    """A table while it is being read: where the open cell stands, and what it holds."""

    def __init__(self, name: str) -> None:
        self.found = Found(name)
        self.row = self.column = 0
        self.pieces: list[str] | None = None  # of the open cell
        self.span = (1, 1)  # rows, columns
        self.down: dict[int, int] = {}  # column -> the last row of a cell that reaches down through it

    def next_row(self) -> None:
        self.close()
        self.row, self.column = self.row + 1, 0
        if self.row > MAX_ROWS:
            raise FileError("too_many_rows", most=MAX_ROWS)

    def open(self, rows: int, columns: int) -> None:
        self.close()
        self.row = self.row or 1
        self.column += 1
        while self.down.get(self.column, 0) >= self.row:
            self.column += 1
        if self.column + columns > MAX_COLUMNS:
            raise FileError("too_many_columns", rows=[self.row], row=self.row, most=MAX_COLUMNS)
        self.span, self.pieces = (rows, columns), []
        if rows > 1:
            self.down.update(dict.fromkeys(range(self.column, self.column + columns), self.row + rows - 1))

    def close(self) -> None:
        if self.pieces is None:
            return
        lines = (_SPACE.sub(" ", line).strip() for line in "".join(self.pieces).split("\v"))
        text = "\n".join(line for line in lines if line)
        if len(text) > MAX_CELL:
            raise FileError("cell_too_large", rows=[self.row], row=self.row, most=MAX_CELL)
        if text:
            self.found.rows.setdefault(self.row, {})[self.column] = text
        rows, columns = self.span
        if rows > 1 or columns > 1:
            self.found.merged.append((self.row, self.column, self.row + rows - 1, self.column + columns - 1))
        self.column += columns - 1
        self.pieces = None


class _Page(HTMLParser):
    """All tables of a page; those inside a cell of another one stand for themselves."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[_Table] = []
        self.open: list[_Table] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append(_Table(str(len(self.tables) + 1)))
            self.open.append(self.tables[-1])
        elif tag in _SILENT:
            self.silent += 1
        elif self.open and tag == "tr":
            self.open[-1].next_row()
        elif self.open and tag in ("td", "th"):
            own = dict(attrs)
            self.open[-1].open(_number(own.get("rowspan")), _number(own.get("colspan")))
        elif tag in _BREAKS:
            self.handle_data("\v")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self.silent = max(0, self.silent - 1)
        elif self.open and tag in ("td", "th", "tr", "table"):
            self.open[-1].close()
        elif tag in _BREAKS:
            self.handle_data("\v")
        if tag == "table" and self.open:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1].pieces is not None and not self.silent:
            self.open[-1].pieces.append(data)


def _number(text: str | None) -> int:
    return min(int(text), MAX_COLUMNS) if text and text.strip().isdecimal() else 1
