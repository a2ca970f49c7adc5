"""Builds workbooks by hand, so that a test can put anything into them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

SHEET = "<worksheet><sheetData>{}</sheetData>{}</worksheet>"
_MAIN = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
_SHEET_S = '<sheet name="S" sheetId="1" r:id="rId1"/>'
_RELATIONS = "<Relationships>{}</Relationships>"
_RELATION = '<Relationship Id="{}" Type="http://x/{}" Target="{}"/>'


def sheet(rows: str, rest: str = "") -> str:
    return SHEET.format(rows, rest)


def text_cell(ref: str, text: str) -> str:
    return f'<c r="{ref}" t="inlineStr"><is><t>{text}</t></is></c>'


def workbook(
    path: Path,
    body: str | Callable[[IO[bytes]], object],
    *,
    strings: str = "<sst><si><t>a</t></si></sst>",
    styles: str = "<styleSheet/>",
    main_type: str = _MAIN,
    parts: Mapping[str, bytes | str] | None = None,
    relations: str = "",
) -> Path:
    """An .xlsx of one sheet named S, whose XML is `body` or is written by it."""
    inside = {
        "[Content_Types].xml": f'<Types><Override PartName="/xl/workbook.xml" ContentType="{main_type}"/></Types>',
        "_rels/.rels": _RELATIONS.format(_RELATION.format("rId1", "officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns:r="r"><sheets>{_SHEET_S}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _RELATIONS.format(
            _RELATION.format("rId1", "worksheet", "worksheets/sheet1.xml")
            + _RELATION.format("rId2", "sharedStrings", "sharedStrings.xml")
            + _RELATION.format("rId3", "styles", "styles.xml")
            + relations
        ),
        "xl/sharedStrings.xml": strings,
        "xl/styles.xml": styles,
        **(parts or {}),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in inside.items():
            book.writestr(name, content)
        with book.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part:
            if callable(body):
                body(part)
            else:
                part.write(body.encode())
    return path
