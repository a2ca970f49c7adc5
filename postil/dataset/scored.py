"""Answers and scores as a sheet for people: one row a question, texts as texts, numbers as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from postil.dataset import excel
from postil.errors import FileError
from postil.locales import say

Value = str | float | int | None
WIDE, NARROW = 44, 12  # characters
LONG = 24  # from so many characters on a column is wide


def write_scores(path: Path, head: Sequence[str], rows: Sequence[Sequence[Value]], lang: str | None = None) -> None:
    """A new workbook with one sheet. Whatever a text begins with, it is never a formula. Raises FileError."""
    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font

    check(path)
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = excel.plain(say("scores.sheet", lang))[:31]
    for column, name in enumerate(head, start=1):
        top = excel.put_text(excel.cell_at(sheet, 1, column), name)
        top.font = Font(bold=True)
        longest = max((len(text) for row in rows if isinstance(text := row[column - 1], str)), default=0)
        sheet.column_dimensions[top.column_letter].width = WIDE if longest > LONG else NARROW
    for number, row in enumerate(rows, start=2):
        for column, value in enumerate(row, start=1):
            cell = excel.cell_at(sheet, number, column)
            cell.alignment = Alignment(wrap_text=True, vertical="top")
            if isinstance(value, str):
                excel.put_text(cell, value)
            elif value is not None:
                cell.value = round(value, 4)
    sheet.freeze_panes = "A2"
    excel.save(book, path)


def check(path: Path) -> None:
    """Raise FileError when no workbook can be written there."""
    if not path.parent.is_dir():
        raise FileError("output_no_folder", path=str(path.parent))
    excel.check_new(path)
