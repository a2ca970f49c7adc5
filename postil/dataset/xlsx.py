"""Workbooks of Excel 2007 and later, read as a stream: the texts that are displayed, wherever their cells stand.

Nothing outside `workbook.xml`, its relations, styles, shared strings and sheets is opened: no macro, no external link.
A document type declaration, which Office never writes, is refused, and with it every entity.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO
from xml.parsers import expat

from postil.dataset.limits import MAX_CELL, MAX_CELLS, MAX_COLUMNS, MAX_ROWS, MAX_TOKEN
from postil.dataset.numberformat import BUILT_IN, Shown, formatter, general
from postil.dataset.raw import Findings, column_letter
from postil.errors import FileError

_CELL = re.compile(r"([A-Z]{1,3})(\d{1,7})")
_CODED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_LAST_ROW = 1_048_576


@dataclass
class Found:
    """A sheet while it is being read: texts by row and column, both from 1."""

    name: str
    hidden: bool = False
    active: bool = False
    rows: dict[int, dict[int, str]] = field(default_factory=dict)
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    hidden_rows: int = 0
    hidden_columns: int = 0
    findings: Findings = field(default_factory=Findings)


class Reader:
    """Feeds an XML part to `start` and `end`. Names come without the prefix that the root element has."""

    def __init__(self) -> None:
        self.prefix = ""
        self.pieces: list[str] = []
        self.size = 0

    def read(self, part: IO[bytes]) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = lambda name, attributes: self._root(parser, name, attributes)
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = _refuse
        fed = 0
        while block := part.read(256 * 1024):
            parser.Parse(block, False)
            fed += len(block)
            if fed - parser.CurrentByteIndex > MAX_TOKEN:
                raise FileError("workbook_unsafe")
        parser.Parse(b"", True)

    def _root(self, parser: expat.XMLParserType, name: str, attributes: dict[str, str]) -> None:
        """Most sheets write no prefix: then the handlers are called without a step between."""
        self.prefix = name[: name.find(":") + 1]
        if self.prefix:
            parser.StartElementHandler = lambda name, attributes: self.start(name.removeprefix(self.prefix), attributes)
            parser.EndElementHandler = lambda name: self.end(name.removeprefix(self.prefix))
        else:
            parser.StartElementHandler = self.start
        self.start(name.removeprefix(self.prefix), attributes)

    def _text(self, text: str) -> None:
        self.size += len(text)
        if self.size > MAX_CELL:
            raise FileError("cell_too_large", row=self.row(), most=MAX_CELL)
        self.pieces.append(text)

    def taken(self) -> str:
        """The text since the last call of `fresh`."""
        text = "".join(self.pieces)
        self.fresh()
        return text

    def fresh(self) -> None:
        if self.pieces:
            self.pieces.clear()
            self.size = 0

    def row(self) -> int:
        return 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None: ...

    def end(self, name: str) -> None: ...


def _refuse(*_: object) -> None:
    raise FileError("workbook_unsafe")


class _Book(Reader):
    """workbook.xml: the sheets in their order, the active one, and which of Excel's two calendars counts."""

    def __init__(self) -> None:
        super().__init__()
        self.sheets: list[tuple[str, str, str]] = []  # name, state, id of the relation
        self.active = 0
        self.epoch_1904 = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self.fresh()
        if name == "sheet":
            relation = next((v for k, v in attributes.items() if k.rpartition(":")[2] == "id" and ":" in k), "")
            self.sheets.append((attributes.get("name", ""), attributes.get("state", "visible"), relation))
        elif name == "workbookView" and attributes.get("activeTab", "0").isdigit():
            self.active = int(attributes.get("activeTab", "0"))
        elif name == "workbookPr":
            self.epoch_1904 = attributes.get("date1904", "0") in ("1", "true")


class _Relations(Reader):
    def __init__(self) -> None:
        super().__init__()
        self.targets: dict[str, tuple[str, str]] = {}  # id -> kind, target inside the workbook

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self.fresh()
        if name == "Relationship" and attributes.get("TargetMode") != "External":
            kind = attributes.get("Type", "").rpartition("/")[2]
            self.targets[attributes.get("Id", "")] = kind, attributes.get("Target", "")


class _Styles(Reader):
    """styles.xml: the format code of each cell style."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = dict(BUILT_IN)
        self.styles: list[int] = []
        self.inside = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self.fresh()
        if name == "numFmt":
            self.codes[int(attributes["numFmtId"])] = attributes.get("formatCode", "General")
        elif name == "cellXfs":
            self.inside = True
        elif name == "xf" and self.inside:
            self.styles.append(int(attributes.get("numFmtId", "0")))

    def end(self, name: str) -> None:
        self.inside = self.inside and name != "cellXfs"

    def shown(self, epoch_1904: bool) -> list[Shown]:
        made = {number: formatter(self.codes.get(number, "General"), epoch_1904) for number in set(self.styles)}
        return [made[number] for number in self.styles]


class _Strings(Reader):
    """sharedStrings.xml: the texts that cells point to; formatting is passed over, and so are phonetic guides."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.parts: list[str] = []
        self.guide = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self.guide |= name == "rPh"
        self.fresh()

    def end(self, name: str) -> None:
        if name == "t" and not self.guide:
            self.parts.append(self.taken())
        elif name == "rPh":
            self.guide = False
        elif name == "si":
            self.texts.append(decoded("".join(self.parts)))
            self.parts.clear()
        self.fresh()


class _Sheet(Reader):
    """A sheet: the cells that hold something, the merged ranges, and what is hidden."""

    def __init__(self, sheet: Found, strings: list[str], shown: list[Shown], room: list[int]) -> None:
        super().__init__()
        self.sheet, self.strings, self.shown, self.room = sheet, strings, shown, room
        self.number, self.column = 0, 0
        self.kind, self.style = "n", 0
        self.value: str | None = None
        self.parts: list[str] = []
        self.formula = self.guide = False
        self.columns: dict[str, int] = {}

    def row(self) -> int:
        return self.number

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "c":
            self._cell(attributes)
        elif name == "row":
            self.number = int(attributes.get("r", self.number + 1))
            self.column = 0
            self.sheet.hidden_rows += attributes.get("hidden") in ("1", "true")
        elif name == "f":
            self.formula = True
        elif name == "rPh":
            self.guide = True
        elif name == "mergeCell":
            self._merge(attributes.get("ref", ""))
        elif name == "col" and attributes.get("hidden") in ("1", "true"):
            self.sheet.hidden_columns += 1
        if self.pieces:
            self.fresh()

    def _cell(self, attributes: Mapping[str, str]) -> None:
        name = attributes.get("r", "")
        letters = name.rstrip("0123456789")
        if letters not in self.columns:
            self.columns[letters] = column_number(letters)
        if name:
            self.column, row = self.columns[letters], name[len(letters) :]
            self.number = int(row) if row else self.number
        else:
            self.column += 1
        self.kind, self.style = attributes.get("t", "n"), int(attributes.get("s", 0))
        self.value, self.formula = None, False
        if self.parts:
            self.parts.clear()

    def _merge(self, ref: str) -> None:
        ends = [_CELL.fullmatch(end) for end in ref.split(":")]
        if len(ends) == 2 and ends[0] and ends[1]:
            first, last = ends[0], ends[1]
            self.sheet.merged.append((int(first[2]), column_number(first[1]), int(last[2]), column_number(last[1])))

    def end(self, name: str) -> None:
        if name == "v":
            self.value = self.taken()
        elif name == "t" and not self.guide:
            self.parts.append(self.taken())
        elif name == "rPh":
            self.guide = False
        elif name == "c":
            self._keep(self._display())
        elif self.pieces:
            self.fresh()

    def _display(self) -> str:
        if self.kind == "inlineStr":
            return decoded("".join(self.parts))
        value = self.value
        if not value:
            if self.formula and self.kind != "str":
                self._issue("formula_without_value", "warning")
            return ""
        if self.kind == "s":
            return self.strings[int(value)]
        if self.kind == "n":
            return self._number(value)
        if self.kind == "e":
            self._issue("error_cell", "warning", text=value)
            return ""
        if self.kind == "b":
            return "TRUE" if value.strip() in ("1", "true") else "FALSE"
        return decoded(value)

    def _number(self, value: str) -> str:
        show = self.shown[self.style] if self.style < len(self.shown) else general
        if show is general and len(value) < 15 and value.isdigit():
            return value if value == "0" or value[0] != "0" else general(float(value))
        return show(float(value))

    def _issue(self, code: str, severity: str, **values: str) -> None:
        self.sheet.findings.issue(code, severity, self.number, f"{column_letter(self.column)}{self.number}", **values)

    def _keep(self, text: str) -> None:
        if not text:
            return
        if self.column > MAX_COLUMNS or not 1 <= self.number <= _LAST_ROW:
            cell = f"{column_letter(self.column)}{self.number}"
            raise FileError("cell_far_away", rows=[self.number], cell=cell, sheet=self.sheet.name)
        row = self.sheet.rows.get(self.number)
        if row is None:
            row = self.sheet.rows[self.number] = {}
            if len(self.sheet.rows) > MAX_ROWS:
                raise FileError("too_many_rows", most=MAX_ROWS)
        self.room[0] -= 1
        if self.room[0] < 0:
            raise FileError("too_many_cells", most=MAX_CELLS)
        row[self.column] = text


def decoded(text: str) -> str:
    """Signs that XML cannot hold are written _x000D_ in a workbook."""
    if "_x" not in text:
        return text
    text = _CODED.sub(lambda code: chr(int(code[1], 16)), text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a character becomes "\ufffd"


def column_number(name: str) -> int:
    """A is 1, AA is 27."""
    number = 0
    if not re.fullmatch("[A-Z]{0,3}", name):
        raise ValueError(f"{name!r} is no column")
    for letter in name:
        number = number * 26 + ord(letter) - 64
    return number


def read_xlsx(path: str) -> Iterator[Found]:
    """The sheets of a workbook in their order. Raises FileError for what is unsafe or broken."""
    with zipfile.ZipFile(path) as parts:
        root = _relations(parts, "_rels/.rels", "")
        book_name = next((target for kind, target in root.values() if kind == "officeDocument"), "xl/workbook.xml")
        book = _Book()
        _read(parts, book_name, book)
        folder, name = posixpath.split(book_name)
        relations = _relations(parts, f"{folder}/_rels/{name}.rels", folder)
        strings, styles = _Strings(), _Styles()
        for kind, reader in (("sharedStrings", strings), ("styles", styles)):
            for target in [target for its_kind, target in relations.values() if its_kind == kind]:
                _read(parts, target, reader)
        shown, room = styles.shown(book.epoch_1904), [MAX_CELLS]
        for place, (title, state, relation) in enumerate(book.sheets):
            kind, target = relations.get(relation, ("", ""))
            if kind == "worksheet":
                sheet = Found(title, hidden=state != "visible", active=place == book.active)
                _read(parts, target, _Sheet(sheet, strings.texts, shown, room))
                yield sheet


def _relations(parts: zipfile.ZipFile, name: str, folder: str) -> dict[str, tuple[str, str]]:
    reader = _Relations()
    if name in parts.NameToInfo:
        _read(parts, name, reader)
    return {key: (kind, posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/"))
            for key, (kind, target) in reader.targets.items()}  # fmt: skip


def _read(parts: zipfile.ZipFile, name: str, reader: Reader) -> None:
    with parts.open(name) as part:
        reader.read(part)
