"""OpenDocument sheets (.ods), and Excel's XML of 2003: both hold what a cell displays, or say how."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from postil.dataset.limits import MAX_CELL, MAX_CELLS, MAX_COLUMNS, MAX_ROWS
from postil.dataset.numberformat import Shown, formatter, general
from postil.dataset.raw import column_letter
from postil.dataset.xlsx import Found, Reader
from postil.errors import FileError

_CELLS = ("table-cell", "covered-table-cell")
_ERROR = re.compile(r"#(?:REF!|VALUE!|NAME\?|DIV/0!|N/A|NULL!|NUM!)|Err:5\d\d")
_NAMED = {"percent": "0.00%", "standard": "#,##0.00", "fixed": "0.00", "currency": "#,##0.00"}


class _Sheets(Reader):
    """What both formats share: sheets of rows of cells, each cell with its text, a span, and perhaps an error."""

    def __init__(self) -> None:
        super().__init__()
        self.sheets: list[Found] = []
        self.number = self.column = self.room = 0
        self.text: list[str] | None = None  # of the open cell

    def row(self) -> int:
        return self.number

    def keep(self, text: str, down: int, right: int, times: int = 1, rows: int = 1) -> None:
        """Put the text of the cell that ends here into `times` columns of `rows` rows."""
        sheet = self.sheets[-1]
        if len(text) > MAX_CELL:
            raise FileError("cell_too_large", rows=[self.number], row=self.number, most=MAX_CELL)
        if text:
            self._check(times * rows, self.column + times - 1, self.number + rows - 1)
            for number in range(self.number, self.number + rows):
                for column in range(self.column, self.column + times):
                    sheet.rows.setdefault(number, {})[column] = text
        if down or right:
            sheet.merged.append((self.number, self.column, self.number + down, self.column + right))
        self.column += times - 1

    def _check(self, cells: int, column: int, number: int) -> None:
        self.room += cells
        if self.room > MAX_CELLS:
            raise FileError("too_many_cells", most=MAX_CELLS)
        if column > MAX_COLUMNS or number > MAX_ROWS:
            cell = f"{column_letter(min(column, 18_278))}{number}"
            raise FileError("cell_far_away", rows=[number], cell=cell, sheet=self.sheets[-1].name)

    def error(self, text: str) -> None:
        cell = f"{column_letter(self.column)}{self.number}"
        self.sheets[-1].findings.issue("error_cell", "warning", self.number, cell, text=text[:30])


class _OpenDocument(_Sheets):
    """content.xml: a cell's text is what it displays; rows and cells may be repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.times = self.rows = 1
        self.span = (0, 0)
        self.note = 0  # inside a comment
        self.own: dict[str, str] = {}  # attributes of the open cell
        self.hidden: dict[str, bool] = {}
        self.style = ""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._heard()
        name, own = _local(name), {_local(key): text for key, text in attributes.items()}
        if name == "style":
            self.style = own.get("name", "")
        elif name == "table-properties":
            self.hidden[self.style] = own.get("display") == "false"
        elif name == "table":
            hidden = self.hidden.get(own.get("style-name", ""), False)
            self.sheets.append(Found(own.get("name", ""), hidden, active=not self.sheets))
            self.number = 0
        elif name == "annotation":
            self.note += 1
        elif self.sheets:
            self._inside(name, own)

    def _inside(self, name: str, own: dict[str, str]) -> None:
        if name == "table-row":
            self.number, self.column = self.number + 1, 0
            self.rows = _count(own, "number-rows-repeated")
            self.sheets[-1].hidden_rows += own.get("visibility", "visible") != "visible"
        elif name == "table-column":
            self.sheets[-1].hidden_columns += own.get("visibility", "visible") != "visible"
        elif name in _CELLS:
            self.column += 1
            self.times = _count(own, "number-columns-repeated")
            self.span = (_count(own, "number-rows-spanned") - 1, _count(own, "number-columns-spanned") - 1)
            self.text, self.own = [], own
        elif self.text is not None and name == "s":
            self.text.append(" " * min(_count(own, "c"), 100))
        elif self.text is not None and name in ("line-break", "tab"):
            self.text.append("\n" if name == "line-break" else "\t")

    def end(self, name: str) -> None:
        self._heard()
        name = _local(name)
        if name == "annotation":
            self.note -= 1
        elif name == "p" and self.text is not None and not self.note:
            self.text.append("\n")
        elif name in _CELLS and self.text is not None:
            text, self.text = "".join(self.text).strip("\n"), None
            shown = "" if name == "covered-table-cell" else self._display(text)
            self.keep(shown, *self.span, self.times, self.rows)
        elif name == "table-row":
            self.number += self.rows - 1

    def _display(self, text: str) -> str:
        if _ERROR.fullmatch(text[:20]):
            self.error(text)
            return ""
        if not text and "value" in self.own:
            percent = self.own.get("value-type") == "percentage"
            return general(float(self.own["value"]) * 100) + "%" if percent else general(float(self.own["value"]))
        if not text:
            text = next(
                (self.own[name] for name in ("string-value", "date-value", "time-value") if name in self.own), ""
            )
        if not text and "formula" in self.own and self.own.get("value-type") != "string":
            cell = f"{column_letter(self.column)}{self.number}"
            self.sheets[-1].findings.issue("formula_without_value", "warning", self.number, cell)
        return text

    def _heard(self) -> None:
        text = self.taken()
        if self.text is not None and not self.note:
            self.text.append(text)


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _count(attributes: Mapping[str, str], name: str) -> int:
    text = attributes.get(name, "1")
    return max(1, int(text)) if text.isdecimal() and len(text) < 10 else 1


def read_ods(path: str) -> Iterator[Found]:
    """The sheets of an OpenDocument file, with what their cells display: 85%, and not 0.85."""
    reader = _OpenDocument()
    with zipfile.ZipFile(path) as parts:
        manifest = "META-INF/manifest.xml"
        if manifest in parts.NameToInfo and b"encryption-data" in parts.read(manifest):
            raise FileError("file_encrypted")
        with parts.open("content.xml") as part:
            reader.read(part)
    yield from reader.sheets


class _Xml2003(_Sheets):
    """An XML spreadsheet: <Cell ss:StyleID="s1"><Data ss:Type="Number">0.85</Data></Cell>."""

    def __init__(self) -> None:
        super().__init__()
        self.styles: dict[str, Shown] = {}
        self.style = self.kind = self.shown = self.said = ""
        self.span = (0, 0)

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        own = {key.rpartition(":")[2]: text for key, text in attributes.items()}
        self._heard()
        if name == "Style":
            self.style = own.get("ID", "")
        elif name == "NumberFormat":
            code = own.get("Format", "")
            self.styles[self.style] = formatter(_NAMED.get(code.lower(), code))
        elif name == "Worksheet":
            self.sheets.append(Found(own.get("Name", ""), active=not self.sheets))
            self.number = 0
        elif name == "Row" and self.sheets:
            self.number, self.column = _place(own, self.number), 0
            self.sheets[-1].hidden_rows += own.get("Hidden") == "1"
        elif name == "Cell" and self.sheets:
            self.column = _place(own, self.column)
            self.shown, self.kind = own.get("StyleID", ""), ""
            self.span = (_span(own, "MergeDown"), _span(own, "MergeAcross"))
            self.said = ""
        elif name == "Data" and self.sheets and not self.kind:
            self.kind, self.text = own.get("Type", "String"), []

    def end(self, name: str) -> None:
        self._heard()
        if name == "Data" and self.text is not None:
            self.said, self.text = self._display("".join(self.text)), None
        elif name == "Cell" and self.sheets:
            self.keep(self.said, *self.span)
            self.column += self.span[1]

    def _heard(self) -> None:
        text = self.taken()
        if self.text is not None:
            self.text.append(text)

    def _display(self, text: str) -> str:
        if self.kind == "Error":
            self.error(text)
            return ""
        if self.kind == "Number":
            return self.styles.get(self.shown, general)(float(text))
        if self.kind == "DateTime":
            day, _, clock = text.partition("T")
            return day if clock.startswith("00:00:00") or not clock else f"{day} {clock[:5]}"
        if self.kind == "Boolean":
            return "TRUE" if text.strip() == "1" else "FALSE"
        return text


def _place(attributes: Mapping[str, str], before: int) -> int:
    text = attributes.get("Index", "")
    return int(text) if text.isdecimal() and 0 < len(text) < 9 else before + 1


def _span(attributes: Mapping[str, str], name: str) -> int:
    text = attributes.get(name, "0")
    return min(int(text), MAX_ROWS) if text.isdecimal() and len(text) < 9 else 0


def read_xml2003(path: str) -> Iterator[Found]:
    """The sheets of an XML spreadsheet. Raises FileError `file_is_xml` if it has none."""
    reader = _Xml2003()
    with Path(path).open("rb") as file:
        reader.read(file)
    if not reader.sheets:
        raise FileError("file_is_xml", path=Path(path).name)
    yield from reader.sheets
