"""CSV rows with commas that nobody put in quotation marks: 问题,答案 over 能退吗？,能退,运费自理。"""

from __future__ import annotations

from collections.abc import Sequence

from postil.dataset.names import meanings
from postil.dataset.raw import Findings, Row, column_letter

_SHORT = {"nothing", "time", "label", "conversation", "turn", "speaker"}  # roles of columns that hold no sentences
_MARKS, _WORDS = ("?", "？"), ("吗", "呢")  # that end a question
_SAMPLE = 400


def keep_commas(rows: Sequence[Row], header: Row, found: Findings) -> list[Row]:
    """Rows wider than the header, put together: what is too much goes to the columns of sentences. Each is listed.

    A comma with a blank behind it stands in a sentence. Else a question ends with its mark, and answers hold commas.
    """
    head = len(header.cells)
    texts: list[int] | None = None
    mended = []
    for row in rows:
        if _width(row.cells) > head:
            if texts is None:
                texts = _sentences(
                    header, [one.cells for one in rows if _width(one.cells) == head and one is not header]
                )
            row = _mended(row, head, texts, found)
        mended.append(row)
    return mended


def _width(cells: Sequence[str]) -> int:
    """Without the empty cells at the end."""
    width = len(cells)
    while width and not cells[width - 1].strip():
        width -= 1
    return width


def _sentences(header: Row, good: Sequence[Sequence[str]]) -> list[int]:
    """The columns that may hold a comma, by their names, and by what stands in the rows that are whole."""
    kept = []
    for column, name in enumerate(header.cells):
        roles = {role for role, _ in meanings(name.strip())}
        cells = [row[column].strip() for row in good[:_SAMPLE] if column < len(row)]
        closed = len(cells) > 4 and len(set(cells)) <= max(3, len(cells) // 5) and max(map(len, cells)) <= 12
        numbers = bool(cells) and all(cell.replace(".", "", 1).isdigit() for cell in cells)
        if not (roles and roles <= _SHORT) and not closed and not numbers:
            kept.append(column)
    return kept


def _mended(row: Row, head: int, texts: Sequence[int], found: Findings) -> Row:
    cells = list(row.cells[: _width(row.cells)])
    kept, sure = _by_blanks(cells), True
    if len(kept) != head:
        if not texts or texts[-1] - texts[0] != len(texts) - 1 or len(texts) > 2:
            return row
        kept, sure = _joined(cells, head, texts[0], texts[-1])
    at = next(column for column, cell in enumerate(kept) if cell != row.cells[column])
    where = f"{column_letter(at + 1)}{row.number}"
    found.repair("commas_kept", row.number, " | ".join(row.cells), " | ".join(kept), where)
    if not sure:
        found.issue("commas_guessed", "warning", row.number, where)
    return Row(row.number, tuple(kept))


def _by_blanks(cells: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for cell in cells:
        if kept and cell.startswith(" ") and cell.strip():
            kept[-1] += "," + cell
        else:
            kept.append(cell)
    return kept


def _joined(cells: list[str], head: int, first: int, last: int) -> tuple[list[str], bool]:
    """The cells with `first` to `last`, one column or two, holding all that is too much; and whether that is sure."""
    end = len(cells) - (head - 1 - last)
    before, middle, after = cells[:first], cells[first:end], cells[end:]
    if first == last:
        return [*before, ",".join(middle), *after], True
    marked = [n for n in range(1, len(middle)) if middle[n - 1].strip().endswith(_MARKS)]
    asked = marked or [n for n in range(1, len(middle)) if middle[n - 1].strip().endswith(_WORDS)]
    cut = asked[-1] if asked else 1
    return [*before, ",".join(middle[:cut]), ",".join(middle[cut:]), *after], len(asked) == 1
