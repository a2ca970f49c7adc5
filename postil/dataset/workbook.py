"""The user's own workbook back: with every problem marked where it stands, or with answers in a new column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil.dataset import excel
from postil.dataset.corrections import edited
from postil.dataset.raw import column_letter
from postil.locales import LANGUAGES, knows, say
from postil.records import Dataset

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.cell.cell import Cell, MergedCell
    from openpyxl.worksheet.worksheet import Worksheet

AUTHOR = "Postil"
COLOURS = {"error": "FFC7CE", "warning": "FFE699", "advice": "BDD7EE", "repair": "BDD7EE"}
ORDER = {severity: rank for rank, severity in enumerate(COLOURS)}
STYLED = ("xls", "xlsx", "xlsm", "xlsb", "ods", "html", "xml")  # formats that have colours, widths and several sheets
MAX_COMMENT = 2_000  # characters; the rest stands in the sheet of findings
ANSWERS, ROWS = "postil_answers", "postil_rows"  # defined names: they follow the column when a user moves it


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the sheet of findings. `severity`: error, warning, advice or repair. `own`: put right by a person."""

    row: int | None
    cell: str | None
    severity: str
    message: str
    fix: str = ""
    before: str = ""
    after: str = ""
    own: bool = False


def findings(dataset: Dataset, lang: str | None = None) -> list[Finding]:
    """Issues, dropped rows that no issue tells of, rows left out, and repairs, in the order of the file."""
    found = [Finding(i.row, i.cell, i.severity, i.message(lang), i.fix(lang)) for i in dataset.issues]
    for left in dataset.untold:
        key = f"issue.{left.code}.fix"
        fix = say(key, lang, **left.values) if knows(key) else ""
        found.append(Finding(left.row, None, "error", left.message(lang), fix))
    out = (left for left in dataset.dropped if left.code == "left_out_by_user")
    found += [Finding(left.row, None, "repair", left.message(lang), own=True) for left in out]
    found += [
        Finding(r.row, r.cell, "repair", r.message(lang), "", r.before, r.after, r.code == "edited_by_user")
        for r in dataset.repaired
    ]
    return sorted(found, key=lambda f: (f.row or 0, ORDER[f.severity]))


def write_report(dataset: Dataset, path: Path, lang: str | None = None) -> tuple[str, ...]:
    """Write the workbook of `dataset` with coloured, commented cells and a sheet of findings. Texts that a person has
    put right stand in their cells, with a note of what stood there.

    Returns sentences on what the new file does not carry. Raises FileError when `path` cannot be written or is the
    user's own file.
    """
    keep_macros = excel.check_target(dataset.path, path) == "xlsm"
    found = findings(dataset, lang)
    book, lost = excel.open_own(dataset.path, keep_macros) if excel.is_own(dataset.path) else (None, [])
    if book is not None:
        title = _mark_own(book, dataset, found, lang)
        _list_findings(book, found, title, lang)
        excel.save(book, path)
        return excel.told([*lost, *excel.lost_parts(dataset.path, path)], lang)
    excel.check_new(path)
    if dataset.path.stat().st_size > excel.MAX_OWN_BYTES or dataset.rows >= excel.MAX_SHEET_ROWS:
        book, lost = _empty(), ["rows"]
    else:
        book, lost = _marked_new(dataset, found, lang), ["format"] if dataset.format in STYLED else []
    _list_findings(book, found, None, lang)
    excel.save(book, path)
    return excel.told(lost, lang)


# ── marks ─────────────────────────────────────────────────────────────────────────────────────────


def _mark_own(book: Workbook, dataset: Dataset, found: list[Finding], lang: str | None) -> str:
    """Mark the cells in the user's own workbook; returns the title of the sheet they are on."""
    _forget_last_report(book)
    sheet = _sheet(book, dataset.sheet)
    heads = _merged_heads(sheet)
    for cell, text in _edits(dataset).items():
        own = excel.address(cell)
        if own and cell not in heads:  # the inside of a merged range has no text of its own
            excel.put_text(sheet[f"{own[0]}{own[1]}"], text)
    at: dict[str, list[Finding]] = defaultdict(list)
    for finding in found:
        place = _place(sheet, finding, dataset.columns)
        if place:
            at[heads.get(place, place)].append(finding)
    for place, here in at.items():
        _mark(sheet[place], here, lang)
    return sheet.title


def _edits(dataset: Dataset) -> dict[str, str]:
    """Address -> what a person has put there."""
    return {r.cell: r.after for r in dataset.repaired if r.code == "edited_by_user" and r.cell}


def _sheet(book: Workbook, name: str | None) -> Worksheet:
    titles = [sheet.title for sheet in book.worksheets]
    return book.worksheets[titles.index(name) if name in titles else 0]


def _place(sheet: Worksheet, finding: Finding, columns: Mapping[str, str]) -> str | None:
    """The cell to mark: the finding's own, else the question of its row, else the first cell that holds something."""
    own = excel.address(finding.cell)
    if own:
        return f"{own[0]}{own[1]}"
    if finding.row is None or finding.row > excel.MAX_SHEET_ROWS:
        return None
    asks = columns.get("question", "")
    question = f"{column_letter(finding.row)}{asks}" if asks.isdigit() else f"{asks}{finding.row}"
    if excel.address(question):
        return question
    # Not sheet[row]: that looks through the whole sheet for its last column.
    first = (f"{column_letter(i)}{finding.row}" for i in range(1, 51) if sheet.cell(finding.row, i).value is not None)
    return next(first, f"A{finding.row}")


def _merged_heads(sheet: Worksheet) -> dict[str, str]:
    """Each cell inside a merged range -> the cell at its top left, the only one that can be marked."""
    heads: dict[str, str] = {}
    for merged in sheet.merged_cells.ranges:
        head = f"{column_letter(merged.min_col)}{merged.min_row}"
        for row, column in list(merged.cells)[1:]:
            heads[f"{column_letter(column)}{row}"] = head
    return heads


def _mark(cell: Cell, here: list[Finding], lang: str | None) -> None:
    """Colour the cell by its worst finding and put all findings in its one comment, below what the user wrote."""
    from openpyxl.comments import Comment
    from openpyxl.styles import PatternFill

    worst = min(here, key=lambda f: ORDER[f.severity])
    cell.fill = PatternFill("solid", fgColor=COLOURS[worst.severity])
    lines = list(dict.fromkeys(_line(finding, lang) for finding in here))
    text = excel.plain("\n\n".join(lines))
    if len(text) > MAX_COMMENT:
        text = text[:MAX_COMMENT] + "…\n" + say("marks.more", lang)
    own = cell.comment
    if own is not None:
        text = f"{own.text}\n\n{_rule()}\n{text}"
    # About 20 characters a line at this width; Excel neither fits nor scrolls a comment by itself.
    height = 20 + 18 * sum(1 + len(line) // 20 for line in text.splitlines())
    cell.comment = Comment(text, own.author if own else AUTHOR, height=min(height, 500), width=300)


def _line(finding: Finding, lang: str | None) -> str:
    name = say(f"marks.severity.{finding.severity}", lang)
    if finding.own and finding.cell:
        return f"[{name}] {finding.message}\n{say('marks.stood', lang, text=finding.before)}"
    return f"[{name}] {finding.message}" + (f"\n→ {finding.fix}" if finding.fix else "")


def _rule() -> str:
    return f"— {AUTHOR} —"


def _forget_last_report(book: Workbook) -> None:
    """Take the marks of an earlier report out, so that a workbook can go round several times."""
    from openpyxl.comments import Comment
    from openpyxl.styles import PatternFill

    titles = {say("marks.sheet", lang) for lang in LANGUAGES}
    old = [sheet for sheet in book.worksheets if sheet.title in titles]
    if not old or len(old) == len(book.worksheets):
        return
    for sheet in old:
        book.remove(sheet)
    for sheet in book.worksheets:
        for cell in (cell for row in sheet.iter_rows() for cell in row):
            if cell.comment is None:
                continue
            kept, rule, _ = cell.comment.text.partition(f"\n\n{_rule()}\n")
            if cell.comment.author == AUTHOR or rule:
                cell.fill = PatternFill()
                cell.comment = Comment(kept, cell.comment.author) if rule else None


def _empty() -> Workbook:
    """A new workbook that is written row by row, in little memory."""
    from openpyxl import Workbook

    return Workbook(write_only=True)


def _marked_new(dataset: Dataset, found: list[Finding], lang: str | None) -> Workbook:
    """A new workbook with the rows of any other file, marked as they are written."""
    from openpyxl.cell import WriteOnlyCell

    from postil.dataset.read import read

    raw = read(dataset.path, dataset.sheet)
    used = next((sheet for sheet in raw.sheets if sheet.name == dataset.sheet), raw.sheets[0]) if raw.sheets else None
    grid = excel.grid(edited(raw, used, _edits(dataset)).raw, dataset.sheet, lang)
    book = _empty()
    sheet = book.create_sheet(_title(grid.name))
    by_row: dict[int | None, list[Finding]] = defaultdict(list)
    for finding in found:
        by_row[finding.row].append(finding)
    for number, texts in grid.in_place():
        cells = [excel.put_text(WriteOnlyCell(sheet), text) for text in texts]
        here: dict[int, list[Finding]] = defaultdict(list)
        for finding in by_row.pop(number, ()):
            here[_column(finding, grid, texts, dataset.columns)].append(finding)
        while len(cells) <= max(here, default=-1):
            cells.append(WriteOnlyCell(sheet))
        for index, findings_here in here.items():
            _mark(cells[index], findings_here, lang)
        sheet.append(cells)
    return book


def _column(finding: Finding, grid: excel.Grid, texts: tuple[str, ...], columns: Mapping[str, str]) -> int:
    """The index of the cell to mark in a new sheet: by address, by the key of a record, by the question column."""
    from openpyxl.utils import column_index_from_string

    if grid.header is None:
        for letters in (finding.cell, f"{columns.get('question', '')}{finding.row}"):
            place = excel.address(letters)
            if place:
                return column_index_from_string(place[0]) - 1
        return next((i for i, text in enumerate(texts) if text), 0)
    path = (finding.cell or "").partition(":")[2]  # 12:messages.2.content
    for key in (finding.cell, path, path.partition(".")[0], columns.get("question")):
        if key and key in grid.header:
            return grid.header.index(key)
    return min(1, len(texts) - 1)


def _title(name: str | None) -> str:
    """A name that Excel accepts for a sheet."""
    kept = "".join("_" if character in "[]:*?/\\" else character for character in name or "Sheet1").strip("'")
    return excel.plain(kept)[:31] or "Sheet1"


# ── the sheet of findings ─────────────────────────────────────────────────────────────────────────


def _list_findings(book: Workbook, found: list[Finding], marked: str | None, lang: str | None) -> None:
    """Append a sheet with the meaning of the colours and one line a finding.

    `marked`: the title of the sheet that the cells link to; None in a workbook that is written row by row.
    """
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font, PatternFill

    sheet: Any = book.create_sheet(say("marks.sheet", lang))
    for letter, width in zip("ABCDEFG", (8, 8, 10, 60, 60, 40, 40), strict=True):
        sheet.column_dimensions[letter].width = width
    sheet.freeze_panes = "A7"

    def cell(text: str, colour: str | None = None, bold: bool = False) -> Cell:
        made = excel.put_text(WriteOnlyCell(sheet), text)
        if colour:
            made.fill = PatternFill("solid", fgColor=colour)
        if bold:
            made.font = Font(bold=True)
        return made

    sheet.append([cell(say("marks.legend", lang), bold=True)])
    for severity in ("error", "warning", "advice"):
        sheet.append([cell(say(f"marks.legend.{severity}", lang), COLOURS[severity])])
    sheet.append([])
    names = ("row", "cell", "severity", "message", "fix", "before", "after")
    sheet.append([cell(say(f"marks.column.{name}", lang), bold=True) for name in names])
    for row, finding in enumerate(found, start=7):
        degree = cell(say(f"marks.severity.{finding.severity}", lang), COLOURS[finding.severity])
        rest = (finding.message, finding.fix, finding.before, finding.after)
        sheet.append([finding.row, cell(finding.cell or ""), degree, *map(cell, rest)])
        if marked is not None and excel.address(finding.cell):
            _link(sheet.cell(row, 2), marked, str(finding.cell))


def _link(cell: Cell, sheet: str, place: str) -> None:
    """A click on `cell` jumps to `place` on `sheet` of the same workbook."""
    from openpyxl.worksheet.hyperlink import Hyperlink

    quoted = sheet.replace("'", "''")
    cell.hyperlink = Hyperlink(ref=cell.coordinate, location=f"'{quoted}'!{place}")


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


def write_answers(
    source: Path,
    output: Path,
    sheet: str | None,
    header_row: int | None,
    answers: Mapping[int, str],
    lang: str | None = None,
    doubtful: Collection[int] = (),
) -> tuple[str, ...]:
    """Write the sheet of `source` to `output` with a column of answers on its right; `answers` by row number.

    doubtful: rows whose answer a person should look at; they are coloured. Give all answers each time: the file is
    written anew. A workbook keeps its formatting; any other file becomes a new workbook. Returns sentences on what the
    new file does not carry. Raises FileError as `write_report` does.
    """
    keep_macros = excel.check_target(source, output) == "xlsm"
    book, lost = excel.open_own(source, keep_macros) if excel.is_own(source) else (None, [])
    if book is not None:
        _fill(book, _sheet(book, sheet), header_row, answers, None, lang, doubtful)
        excel.save(book, output)
        return excel.told([*lost, *excel.lost_parts(source, output)], lang)
    excel.check_new(output)
    book, places = _copied(source, sheet, lang)
    _fill(book, book.worksheets[0], 1 if places else header_row, answers, places, lang, doubtful)
    excel.save(book, output)
    return excel.told(["format"] if source.suffix.lower().lstrip(".") in STYLED else [], lang)


def write_beside(
    source: Path,
    output: Path,
    sheet: str | None,
    header_row: int | None,
    head: Sequence[str],
    cells: Mapping[int, Sequence[str | float | None]],
) -> tuple[str, ...] | None:
    """Write the user's own workbook to `output` with further columns on its right. `cells`: row number -> a value for
    each name in `head`.

    Returns sentences on what the new file does not carry; None, and writes nothing, when `source` is no workbook that
    can be written again. Raises FileError as `write_report` does.
    """
    keep_macros = excel.check_target(source, output) == "xlsm"
    book, lost = excel.open_own(source, keep_macros) if excel.is_own(source) else (None, [])
    if book is None:
        return None
    own = _sheet(book, sheet)
    first = _free_column(own)
    top = {header_row: head} if header_row else {}
    for number, values in {**top, **cells}.items():
        for column, value in enumerate(values, start=first):
            cell = excel.cell_at(own, number, column)
            if number == header_row:
                excel.dress_as(cell, own.cell(number, max(1, first - 1)))
            if isinstance(value, str):
                excel.put_text(cell, value)
            elif value is not None:
                cell.value = round(value, 4)
    excel.save(book, output)
    return excel.told([*lost, *excel.lost_parts(source, output)], None)


def read_answers(output: Path, questions: Mapping[int, str], column: str | None = None) -> dict[int, str]:
    """The answers that an earlier run wrote to `output`, by row number; {} when there is no such file.

    An answer counts only where the row's text in `column` (letter, or key of a record; none there: any cell) is part
    of `questions[row]`, or holds it: rows that were moved or reworded since are asked again.
    """
    return {number: str(cell.value) for number, cell in _answer_cells(output, questions, column)}


def read_doubtful(output: Path, questions: Mapping[int, str], column: str | None = None) -> set[int]:
    """The rows of these answers that `write_answers` coloured."""
    return {
        number
        for number, cell in _answer_cells(output, questions, column)
        if str(cell.fill.fgColor.rgb).endswith(COLOURS["warning"])
    }


def _answer_cells(
    output: Path, questions: Mapping[int, str], column: str | None
) -> Iterator[tuple[int, Cell | MergedCell]]:
    """Each row number with the cell of its answer, where the row still asks the same."""
    if not output.is_file() or not excel.is_own(output):
        return
    book, _ = excel.open_own(output, keep_macros=False)
    place = _named_column(book, ANSWERS) if book is not None else None
    if book is None or place is None:
        return
    sheet, answer = place
    numbers = _named_column(book, ROWS)
    asked_in = _letter(sheet, column) if column else None
    for cells in sheet.iter_rows(max_col=max(answer, sheet.max_column)):
        texts = {cell.column_letter: str(cell.value) for cell in cells if cell.value is not None and cell.column_letter}
        answered = texts.pop(column_letter(answer), "")
        number = _number(texts.pop(column_letter(numbers[1]), "")) if numbers else cells[0].row or 0
        asked = [texts[asked_in]] if asked_in in texts else list(texts.values())
        if answered and number in questions and _same(asked, questions[number]):
            yield number, sheet.cell(cells[0].row or 0, answer)


def _same(texts: list[str], question: str) -> bool:
    """Whether one of the texts of a row is part of the question, as a title is, or holds it, as a dialogue does."""
    stripped = [text.strip() for text in texts]
    return any(text and (text in question or question.strip() in text) for text in stripped)


def _fill(
    book: Workbook,
    sheet: Worksheet,
    header_row: int | None,
    answers: Mapping[int, str],
    places: Mapping[int, int] | None,
    lang: str | None,
    doubtful: Collection[int],
) -> None:
    """Put the answers in their column. `places`: row number -> row of the sheet, where the two differ."""
    from openpyxl.comments import Comment
    from openpyxl.styles import Alignment, PatternFill
    from openpyxl.workbook.defined_name import DefinedName

    found = _named_column(book, ANSWERS)
    column = found[1] if found and found[0] is sheet else _free_column(sheet)
    if header_row:
        excel.dress_as(excel.cell_at(sheet, header_row, column), sheet.cell(header_row, max(1, column - 1)))
        excel.put_text(excel.cell_at(sheet, header_row, column), say("marks.answer", lang))
    for number, answer in answers.items():
        cell = excel.cell_at(sheet, number if places is None else places[number], column)
        cell.alignment = Alignment(wrap_text=True, vertical="top")
        excel.put_text(cell, answer)
        if number in doubtful:
            cell.fill = PatternFill("solid", fgColor=COLOURS["warning"])
            cell.comment = Comment(say("marks.doubtful", lang), "Postil")
    letter, quoted = column_letter(column), sheet.title.replace("'", "''")
    sheet.column_dimensions[letter].width = 50
    book.defined_names[ANSWERS] = DefinedName(ANSWERS, attr_text=f"'{quoted}'!${letter}:${letter}")
    if places is not None:
        book.defined_names[ROWS] = DefinedName(ROWS, attr_text=f"'{quoted}'!$A:$A")


def _copied(source: Path, sheet: str | None, lang: str | None) -> tuple[Workbook, dict[int, int] | None]:
    """A new workbook with the rows of any other file; for records and lines also where each row has gone."""
    from openpyxl import Workbook

    from postil.dataset.read import read

    grid = excel.grid(read(source, sheet), sheet, lang)
    book = Workbook()
    chosen = book.worksheets[0]
    chosen.title = _title(grid.name)
    places: dict[int, int] = {}
    for row, (number, texts) in enumerate(grid.in_place(), start=1):
        places.setdefault(number, row)  # several records may begin on one line: the first takes the answer
        for column, text in enumerate(texts, start=1):
            if text:
                excel.put_text(excel.cell_at(chosen, row, column), text)
    return book, places if grid.header is not None else None


def _free_column(sheet: Worksheet) -> int:
    """The first column to the right of all that holds a value or is part of a merged range."""
    filled = max((cell.column for row in sheet.iter_rows() for cell in row if cell.value is not None), default=0)
    merged: list[int] = [merged.max_col for merged in sheet.merged_cells.ranges]
    return max([filled, *merged]) + 1


def _named_column(book: Workbook, name: str) -> tuple[Worksheet, int] | None:
    """The sheet and the number of the column that a name of ours points to."""
    from openpyxl.utils import column_index_from_string

    defined = book.defined_names.get(name)
    for title, reference in defined.destinations if defined is not None else ():
        letters = reference.replace("$", "").partition(":")[0]
        sheet = next((sheet for sheet in book.worksheets if sheet.title == title.replace("''", "'")), None)
        if sheet is None or not letters.isalpha():
            continue
        column = column_index_from_string(letters)
        if not any(merged.min_col <= column <= merged.max_col for merged in sheet.merged_cells.ranges):
            return sheet, column
    return None


def _letter(sheet: Worksheet, column: str) -> str:
    """`column` itself when it is a letter, else the letter of the column whose header in row 1 is that key."""
    for cell in sheet[1]:
        if cell.value == column and cell.column_letter:
            return cell.column_letter
    return column


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
