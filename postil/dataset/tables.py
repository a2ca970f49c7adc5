"""Text becomes a table: which sign stands between the columns, and what the quotation marks mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from postil.dataset.commas import keep_commas
from postil.dataset.limits import MAX_CELL, MAX_COLUMNS, MAX_ROWS
from postil.dataset.raw import Findings, Row, Sheet, column_letter
from postil.errors import FileError

DELIMITERS = ("\t", ";", "|", ",", "，")
_SAMPLE_LINES = 300
_ENDS = ("。", "！", "？", "!", "?", ".", "～", "~")
_MAX_CELL_LINES = 1_000
_LABEL = re.compile(
    r"\s*(?:\d+\s*[.、)）])?\s*(?:问|答|问题|答案|指令|响应|用户|客服|Q|A|Question|Answer)\s*\d*\s*[:：]"
)

_HEADER_WORD = re.compile(
    r"(?i)问题|答案|回答|回复|提问|解答|指令|输入|输出|响应|标题|内容|文案|标签|类别|分类|编号|序号|问句|答句|用户|客服"
    r"|question|answer|instruction|input|output|response|prompt|completion|query|reply|title|label|text|content|category|\bid\b"
)


_RULE = re.compile(r"\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*){1,100}\|?\s*")  # | --- | :---: |


def split_lines(text: str) -> list[str]:
    """Lines of `text`, broken at LF, CRLF or CR and nowhere else; no empty line after the last line break."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return lines


def find_delimiter(lines: Sequence[str], named_table: bool) -> str | None:
    """The sign between the columns, or None if these lines are no table.

    `named_table`: the file's name says CSV or TSV, so a weaker regularity is enough; plain text needs a strong one.
    """
    if lines and (said := re.fullmatch(r"(?i)\ufeff?sep=(.)\s*", lines[0])):
        return said[1]
    sample = [line for line in lines[:_SAMPLE_LINES] if line.strip()]
    if not sample or is_labelled(sample):
        return None
    best = max(DELIMITERS, key=lambda sign: _regularity(sample, sign))
    regular = _regularity(sample, best)
    if named_table:
        if best not in sample[0] and _has_loose_commas(sample):
            return ","  # a regular sign of the sentences alone, such as their full-width comma
        if regular >= (0.3 if best in sample[0] else 0.8):
            return best
        return "," if _has_loose_commas(sample) else None
    return best if _is_table(sample, best, regular) else None


def _has_loose_commas(sample: list[str]) -> bool:
    """A header, and below it rows with as many commas or more: nobody put those of the sentences in quotation marks."""
    names = sample[0].split(",")
    if len(names) < 2 or not _looks_like_header(names) or not _HEADER_WORD.search(sample[0]):
        return False
    return sum(line.count(",") >= len(names) - 1 for line in sample) >= 0.8 * len(sample)


def is_labelled(lines: Sequence[str]) -> bool:
    """Whether these are blocks of text: a third of the lines begin with 问：, 答：, Q:, 客服： and the like."""
    sample = [line for line in lines[:_SAMPLE_LINES] if line.strip()]
    return sum(1 for line in sample if _LABEL.match(line)) * 3 >= len(sample)


def _is_table(sample: list[str], sign: str, regular: float) -> bool:
    """Whether plain text is a table: tabs are strong evidence, a comma needs a header above it."""
    if sign == "\t":
        return regular >= 0.75
    if len(sample) < 3 or regular < 0.9 or not _looks_like_header(sample[0].split(sign)):
        return False
    return sign in ";|" or bool(_HEADER_WORD.search(sample[0]))


def _looks_like_header(cells: list[str]) -> bool:
    names = [cell.strip().strip('"') for cell in cells]
    return all(name and len(name) <= 20 and not re.search(r"[。？！?!：:]", name) for name in names)


def _regularity(sample: list[str], sign: str) -> float:
    """Share of the lines that have the commonest number of columns; 0 if that is one column. The head counts more."""
    parsed = _Parser(sample, sign, Findings()).rows()
    widths = Counter(len(_trim(row.cells)) for row in parsed)
    wide = {width: n for width, n in widths.items() if width > 1}
    total = sum(n for width, n in widths.items() if width)
    if not wide or not total:
        return 0.0
    first = next((len(row.cells) for row in parsed if any(row.cells)), 0)
    header = max((len(_trim(row.cells)) for row in parsed[:5]), default=0)
    # A short row is one whose last cells are empty: it speaks for its table when the head has all of them.
    usual = first if first > 1 else max(wide, key=lambda width: (wide[width], width))
    fits = sum(1 for row in parsed if any(row.cells) and len(row.cells) == usual)
    return fits / total * (1.0 if header >= usual else 0.8) * (1.0 if first > 1 else 0.9)


def is_markdown(lines: Sequence[str]) -> bool:
    """Whether a table is drawn in these lines as Markdown does it: | a | b | over | --- | --- |."""
    return any("|" in above and _RULE.fullmatch(line[:2000]) for above, line in pairwise(lines[:_SAMPLE_LINES]))


def read_markdown(lines: Sequence[str]) -> Sheet:
    """The rows of Markdown tables, one for each line; a line outside of them is a row of one cell, a rule is blank."""
    rows = []
    for number, line in enumerate(lines, 1):
        if number > MAX_ROWS or len(line) > MAX_CELL:
            code = "too_many_rows" if number > MAX_ROWS else "cell_too_large"
            raise FileError(code, rows=[number], row=number, most=MAX_ROWS if number > MAX_ROWS else MAX_CELL)
        text = line.strip()
        cells = [text]
        if _RULE.fullmatch(text[:2000]):
            cells = []
        elif text.startswith("|") or text.count("|") > 1:
            text = text.removeprefix("|")
            text = text if text.endswith("\\|") else text.removesuffix("|")
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", text)]
        rows.append(Row(number, tuple(cells)))
    while rows and not any(rows[-1].cells):
        rows.pop()
    return Sheet(None, tuple(rows), active=True)


def read_table(lines: list[str], delimiter: str | None, found: Findings) -> Sheet:
    """The table in `lines`. Rows count as in Excel: a cell of several lines is one row, blank lines are rows.

    Raises FileError `cell_too_large`, `too_many_rows` or `too_many_columns` with the row.
    """
    if lines and re.fullmatch(r"(?i)\ufeff?sep=.\s*", lines[0]):
        lines = lines[1:]  # Excel does not show it
    rows = _Parser(lines, delimiter, found).rows()
    while rows and not any(cell.strip() for cell in rows[-1].cells):
        rows.pop()
    if delimiter == "," and (header := _named_header(rows)) and not _one_more_column(rows, header):
        rows = keep_commas(rows, header, found)
    _report_extra_cells(rows, found)
    return Sheet(None, tuple(rows), active=True)


def _named_header(rows: Sequence[Row]) -> Row | None:
    """The row near the top that is surely a header, if there is one."""
    for row in rows[:5]:
        if len(row.cells) > 1 and _looks_like_header(list(row.cells)) and _HEADER_WORD.search(",".join(row.cells)):
            return row
    return None


def _one_more_column(rows: Sequence[Row], header: Row) -> bool:
    """Whether nearly all rows are wider than the header by the same: a column without a heading."""
    widths = Counter(len(_trim(row.cells)) for row in rows if any(row.cells) and row is not header)
    usual, times = widths.most_common(1)[0] if widths else (0, 0)
    return usual > len(header.cells) and times >= 0.9 * widths.total() and not _sentences_cut(rows, header)


def _sentences_cut(rows: Sequence[Row], header: Row) -> bool:
    """Whether the sentences that begin in the last named column end in the columns behind it."""
    wide = [row.cells for row in rows[:_SAMPLE_LINES] if row is not header and len(row.cells) > len(header.cells)]
    ended = sum(_trim(cells)[-1:] != () and _trim(cells)[-1].strip().endswith(_ENDS) for cells in wide)
    open_ = sum(not cells[len(header.cells) - 1].strip().endswith(_ENDS) for cells in wide)
    return bool(wide) and min(ended, open_) >= 0.8 * len(wide)


def _report_extra_cells(rows: list[Row], found: Findings) -> None:
    """A row with more cells than the others, or than the header: a delimiter in a text that was not quoted."""
    widths = Counter(len(_trim(row.cells)) for row in rows if any(row.cells))
    if not widths:
        return
    usual = widths.most_common(1)[0][0]
    head = max((len(_trim(row.cells)) for row in rows[:5]), default=0)
    header = _named_header(rows)
    if header and not _one_more_column(rows, header):
        usual = head = len(header.cells)
    for row in rows:
        width = len(_trim(row.cells))
        if width > max(usual, head):
            cell = f"{column_letter(usual + 1)}{row.number}"
            found.issue("extra_cells", "warning", row.number, cell, usual=usual, cells=width)


def _trim(cells: Sequence[str]) -> tuple[str, ...]:
    """Without the empty cells at the end."""
    end = len(cells)
    while end and not cells[end - 1].strip():
        end -= 1
    return tuple(cells[:end])


class _Parser:
    """RFC 4180, read with patience: a quotation mark counts only where it opens and closes a whole cell."""

    def __init__(self, lines: Sequence[str], delimiter: str | None, found: Findings) -> None:
        self.lines = lines
        self.delimiter = delimiter
        self.found = found
        self.number = 0  # of the row being read
        self.width = 0  # columns of the first full row

    def rows(self) -> list[Row]:
        rows: list[Row] = []
        at = 0
        while at < len(self.lines):
            self.number += 1
            if self.number > MAX_ROWS:
                raise FileError("too_many_rows", most=MAX_ROWS)
            line = self.lines[at]
            if '"' in line:
                cells, at = self._quoted(at)
            else:
                cells, at = (line.split(self.delimiter) if self.delimiter else [line]), at + 1
            self._guard(cells, line)
            self.width = self.width or (len(cells) if len(cells) > 1 else 0)
            rows.append(Row(self.number, tuple(cells)))
        return rows

    def _guard(self, cells: list[str], line: str) -> None:
        if len(cells) > MAX_COLUMNS:
            raise FileError("too_many_columns", rows=[self.number], row=self.number, most=MAX_COLUMNS)
        if len(line) > MAX_CELL and any(len(cell) > MAX_CELL for cell in cells):
            raise FileError("cell_too_large", rows=[self.number], row=self.number, most=MAX_CELL)

    def _quoted(self, at: int) -> tuple[list[str], int]:
        """The cells of the row that begins on line `at`, which holds a quotation mark, and the line after the row."""
        cells: list[str] = []
        line, place = self.lines[at], 0
        while True:
            closed = self._closing(at, place) if line.startswith('"', place) else None
            if closed:
                text, at, place = closed
                line = self.lines[at]
            else:
                text, place = self._plain(line, place)
            cells.append(text)
            if place >= len(line):
                return cells, at + 1
            place += 1
            if place >= len(line):
                return [*cells, ""], at + 1

    def _plain(self, line: str, place: int) -> tuple[str, int]:
        end = line.find(self.delimiter, place) if self.delimiter else -1
        end = len(line) if end < 0 else end
        return line[place:end], end

    def _closing(self, at: int, place: int) -> tuple[str, int, int] | None:
        """Text of the quoted cell that opens at `place`, the line where it closes, and the place after it.

        None if it is not a quoted cell: text follows the closing mark, or none closes it.
        """
        first, parts, size = at, [], 0
        start = place + 1
        while True:
            line = self.lines[at]
            end = _closing_mark(line, start)
            parts.append(line[start : len(line) if end < 0 else end])
            size += len(parts[-1]) + 1
            if end >= 0:
                return self._closed(first, at, end, "\n".join(parts).replace('""', '"'))
            if size > MAX_CELL:
                raise FileError("cell_too_large", rows=[self.number], row=self.number, most=MAX_CELL)
            at, start = at + 1, 0
            if at >= len(self.lines) or at - first > _MAX_CELL_LINES:
                self.found.issue("quote_unclosed", "warning", self.number)
                return None

    def _closed(self, first: int, at: int, end: int, text: str) -> tuple[str, int, int] | None:
        line = self.lines[at]
        after = end + 1
        while after < len(line) and line[after] == " " and line[after] != self.delimiter:
            after += 1
        if after < len(line) and line[after] != self.delimiter:
            if at > first:
                self.found.issue("quote_unclosed", "warning", self.number)
            return None
        if at - first > 3 and self._swallows(first, at):
            self.found.issue("quote_unclosed", "warning", self.number)
            return None
        return text, at, after

    def _swallows(self, first: int, at: int) -> bool:
        """Whether each line inside the quotation marks looks like a whole row of this table."""
        sign = self.delimiter
        if sign is None or self.width < 2:
            return False
        return all(line.count(sign) == self.width - 1 for line in self.lines[first + 1 : at])


def _closing_mark(line: str, start: int) -> int:
    """Place of the next quotation mark that is not doubled, or -1."""
    end = line.find('"', start)
    while end >= 0 and line.startswith('"', end + 1):
        end = line.find('"', end + 2)
    return end
