"""A sheet for voting: each question with two answers, A and B, and a cell to choose in; and the same sheet read back.

Which side is whose stands nowhere in it: the sheet has a number, and whoever made it knows what that number means.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postil.dataset import excel
from postil.dataset.read import read
from postil.dataset.scored import check
from postil.errors import DataError
from postil.locales import LANGUAGES, say

MARK = "postil-vote"  # stands before the sheet's number
CHOICES = ("a", "b", "same", "both_bad")
HEAD = ("number", "question", "answer_a", "answer_b", "vote", "comment")
WIDTHS = (8, 40, 50, 50, 14, 30)
FIRST = 4  # row of the first question


@dataclass(frozen=True)
class VoteSheet:
    """A sheet that came back. votes: number of the question, as on the sheet -> choice; comments likewise."""

    number: str
    votes: Mapping[int, str]
    comments: Mapping[int, str]


def write_votes(path: Path, number: str, rows: Sequence[Mapping[str, Any]], question: str, lang: str | None = None
                ) -> None:  # fmt: skip
    """rows: {"question", "a", "b"}, numbered from 1 as they come. Raises FileError."""
    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font
    from openpyxl.worksheet.datavalidation import DataValidation

    check(path)
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = excel.plain(say("votes.sheet", lang))[:31]
    excel.put_text(excel.cell_at(sheet, 1, 1), question).font = Font(bold=True)
    excel.put_text(excel.cell_at(sheet, 2, 1), MARK)
    excel.put_text(excel.cell_at(sheet, 2, 2), number)
    for column, (name, width) in enumerate(zip(HEAD, WIDTHS, strict=True), start=1):
        excel.put_text(excel.cell_at(sheet, 3, column), say(f"votes.{name}", lang)).font = Font(bold=True)
        sheet.column_dimensions[excel.cell_at(sheet, 3, column).column_letter].width = width
    for place, row in enumerate(rows, start=1):
        excel.cell_at(sheet, FIRST + place - 1, 1).value = place
        for column, name in enumerate(("question", "a", "b"), start=2):
            cell = excel.put_text(excel.cell_at(sheet, FIRST + place - 1, column), str(row[name]))
            cell.alignment = Alignment(wrap_text=True, vertical="top")
    words = ",".join(say(f"votes.choice.{name}", lang) for name in CHOICES)
    choice = DataValidation(type="list", formula1=f'"{words}"', allow_blank=True)
    sheet.add_data_validation(choice)
    choice.add(f"E{FIRST}:E{FIRST + max(0, len(rows) - 1)}")
    sheet.freeze_panes = f"A{FIRST}"
    excel.save(book, path)


def read_votes(path: Path) -> VoteSheet:
    """The sheet with its votes, in whatever order its rows are now, saved as whatever kind of table.

    Raises FileError, DataError `not_a_vote_sheet`, `vote_unknown` with the rows.
    """
    rows = [row for sheet in read(path).sheets for row in sheet.rows]
    number = next((row.cells[1].strip() for row in rows if len(row.cells) > 1 and row.cells[0].strip() == MARK), "")
    if not number:
        raise DataError("not_a_vote_sheet", path=str(path))
    known = _known()
    votes: dict[int, str] = {}
    comments: dict[int, str] = {}
    odd: list[tuple[int, str]] = []
    for row in rows:
        cells = [*row.cells, "", "", "", "", "", ""]
        place, said = cells[0].strip(), _plain(cells[4])
        if not place.isdecimal():
            continue
        if said and said not in known:
            odd.append((row.number, cells[4]))
        elif said:
            votes[int(place)] = known[said]
        if cells[5].strip():
            comments[int(place)] = cells[5].strip()
    if odd:
        raise DataError("vote_unknown", rows=[row for row, _ in odd], said=odd[0][1][:40], row=odd[0][0])
    return VoteSheet(number, votes, comments)


def _known() -> dict[str, str]:
    """All words for a choice, in both languages, and the bare names."""
    words = {_plain(say(f"votes.choice.{name}", lang)): name for name in CHOICES for lang in LANGUAGES}
    return {**words, **{_plain(name): name for name in CHOICES}}


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lower().replace("_", " ").split())
