"""Which sheet of a workbook holds the data: the one with most pairs, unless several are equally likely."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from postil.dataset.columns import Cells, Layout, find_layout, list_columns, look
from postil.dataset.drafts import blank
from postil.dataset.raw import Row, Sheet
from postil.errors import DataError, FileError

_ABOUT = re.compile(
    r"说明|须知|示例|样例|模板|范例|字典|目录|备份|旧|封面|readme|instruction|example|sample|template|guide|cover|notes?$",
    re.I,
)
_AS_LIKELY = 0.5  # of the best sheet's pairs
ACROSS = 60  # rows; a higher table does not lie on its side


@dataclass(frozen=True)
class Choice:
    """The chosen sheet, its layout, and the sheets beside it that hold something.

    `own`: the sheet as it stands in the file. `across`: it lay on its side and was turned; its row numbers by column of
    the turned sheet.
    """

    sheet: Sheet
    layout: Layout
    own: Sheet
    others: tuple[Sheet, ...] = ()
    across: tuple[int, ...] = ()


def choose_sheet(sheets: Sequence[Sheet], wanted: str | None, columns: Mapping[str, str]) -> Choice:
    """The sheet with the data. Raises DataError if none can be understood, or if several are equally likely."""
    filled = [sheet for sheet in sheets if any(not blank(cell) for row in sheet.rows for cell in row.cells)]
    if not filled:
        raise DataError("no_rows")
    if wanted is not None:
        filled = [_by_name(filled, wanted)]
    laid = [_laid(sheet, columns) for sheet in filled]
    good = [(sheet, layout, _score(sheet, layout)) for sheet, layout in laid if layout is not None]
    if not good:
        if columns and len(filled) == 1:
            find_layout([row.cells for row in filled[0].rows], columns)  # says which column is missing
        rows = [row.cells for row in max(filled, key=lambda sheet: len(sheet.rows)).rows]
        raise DataError("no_columns", columns=list_columns(_widest(rows)))
    good.sort(key=lambda entry: -entry[2])
    best, layout, score = good[0]
    rivals = [
        sheet.name or "" for sheet, other, points in good[1:] if points >= _AS_LIKELY * score and not other.guessed
    ]
    if rivals and not layout.guessed:
        raise DataError("several_sheets", sheets=", ".join([best.name or "", *rivals]))
    others = [sheet for sheet, (turned, _) in zip(filled, laid, strict=True) if turned is not best]
    own = next(sheet for sheet, (turned, _) in zip(filled, laid, strict=True) if turned is best)
    across = tuple(row.number for row in own.rows) if own is not best else ()
    return Choice(best, layout, own, tuple(others) if wanted is None else (), across)


def _laid(sheet: Sheet, columns: Mapping[str, str]) -> tuple[Sheet, Layout | None]:
    """The sheet and its layout; the sheet turned, where it is plain that its records stand in columns."""
    layout = _layout(sheet, columns)
    if (layout is None or layout.guessed) and not columns and len(sheet.rows) <= ACROSS:
        turned = _turned(sheet)
        other = find_layout([row.cells for row in turned.rows]) if turned.rows else None
        if other is not None and _lies(sheet, turned, other):
            return turned, other
    return sheet, layout


def _turned(sheet: Sheet) -> Sheet:
    width = max((len(row.cells) for row in sheet.rows), default=0)
    rows = [Row(c + 1, tuple(row.cells[c] if c < len(row.cells) else "" for row in sheet.rows)) for c in range(width)]
    return Sheet(sheet.name, tuple(rows), sheet.hidden, sheet.active)


def _lies(sheet: Sheet, turned: Sheet, layout: Layout) -> bool:
    """Whether 问题 and 答案 stand in one of the first columns, or the row that asks is long."""
    if not layout.guessed:
        return layout.header is not None and layout.header < 3 and {"question", "answer"} <= set(layout.roles)
    if len(turned.rows) < max(8, 3 * len(sheet.rows)) or layout.header is not None:
        return False
    question, answer = layout.of("question"), layout.of("answer")
    seen = look([row.cells for row in turned.rows], len(sheet.rows))
    return question is not None and answer is not None and seen[question].asks >= 0.6 and seen[answer].asks <= 0.3


def _by_name(sheets: Sequence[Sheet], wanted: str) -> Sheet:
    for sheet in sheets:
        if (sheet.name or "").strip().casefold() == wanted.strip().casefold():
            return sheet
    raise FileError("sheet_missing", sheet=wanted, names=", ".join(sheet.name or "" for sheet in sheets))


def _layout(sheet: Sheet, columns: Mapping[str, str]) -> Layout | None:
    try:
        return find_layout([row.cells for row in sheet.rows], columns)
    except DataError:
        if sheet.name is None:
            raise
        return None


def _score(sheet: Sheet, layout: Layout) -> float:
    """Rows with both sides filled; less for a hidden sheet, for one about the data, for a guess."""
    start = -1 if layout.header is None else layout.header
    sides = [layout.roles[role] for role in ("dialogue", "message", "question", "answer") if role in layout.roles]
    pairs = sum(all(any(c < len(row.cells) and not blank(row.cells[c]) for c in side) for side in sides)
                for row in sheet.rows[start + 1 :])  # fmt: skip
    about = 0.3 if _ABOUT.search(sheet.name or "") else 1.0
    return pairs * about * (0.3 if sheet.hidden else 1.0) * (0.4 if layout.guessed else 1.0)


def _widest(rows: Sequence[Cells]) -> Cells:
    """The row that most likely holds the headings: the first of those with most cells filled."""
    return max(rows[:30], key=lambda row: sum(not blank(cell) for cell in row), default=())
