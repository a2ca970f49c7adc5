"""From a file to a checked data set: read, understand, mend, settle, check."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from postil.dataset.actions import with_actions
from postil.dataset.blocks import are_marked, read_lines
from postil.dataset.check import check, masked, with_rejected, without_placeholders
from postil.dataset.choice import Choice, choose_sheet
from postil.dataset.clean import Settled, prompted, settle, without_duplicates
from postil.dataset.columns import Layout
from postil.dataset.corrections import check_rows, edited, left_out, of_sheet
from postil.dataset.drafts import Draft, Ledger, blank
from postil.dataset.names import meanings, misspelt
from postil.dataset.places import Places
from postil.dataset.raw import Line, Raw, Row, Sheet, column_letter
from postil.dataset.read import read
from postil.dataset.repair import mend, unnumbered, wrapped
from postil.dataset.rows import Table, read_table
from postil.dataset.shapes import read_records
from postil.dataset.texts import draft_of, read_texts, text_column
from postil.dataset.tokenrows import are_inline, find_pieces, pieces_of_lines, read_inline, read_pieces
from postil.errors import DataError
from postil.records import Dataset, Issue, Repair

ROLES = ("question", "answer", "system", "conversation", "turn", "context", "label")
DAMAGE = frozenset(  # repairs of the reader that say that a record was damaged
    (
        "json_quotes", "json_punctuation", "json_split", "json_joined", "json_line_break", "json_trailing_comma",
        "json_brace_added", "json_comma_added", "json_bare_key", "json_single_quotes", "json_inner_quotes",
        "json_comment", "json_control", "json_nan", "json_literal", "json_escape", "lone_surrogate", "mixed_encoding",
    )
)  # fmt: skip


@dataclass
class _Understood:
    """What a raw file means: its dialogues, and what was found out about its form."""

    ledger: Ledger
    drafts: list[Draft]
    shape: str
    sheet: str | None = None
    header_row: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    own: Sheet | None = None  # as it stands in the file
    across: bool = False


def load(
    source: Path | Raw,
    *,
    sheet: str | None = None,
    columns: Mapping[str, str] | None = None,
    system: str | None = None,
    instruction: str | None = None,
    mask: bool = False,
    edits: Mapping[str, str] | None = None,
    without: Sequence[int] = (),
) -> Dataset:
    """Read and check a file, or one that `read` has read. Bad rows never raise: they are listed.

    columns: role (question answer system conversation turn context label) -> column letter, header text or key, or "-"
    for none.
    system, instruction: a prompt for all rows. mask: replace personal data by what it is.
    edits, without: texts and rows that a person has put right (see `corrections`), before anything is understood.
    Raises FileError if the file cannot be read, DataError if nothing in it can be understood, or a correction is of a
    place that it does not have.
    """
    with _no_collection():
        raw = source if isinstance(source, Raw) else read(Path(source), sheet)
        wanted = _wanted(columns)
        corrected = edited(raw, _used_sheet(raw, sheet, wanted) if edits else None, edits or {})
        raw = corrected.raw
        found = _understood(raw, sheet, wanted, without)
        examples = _examples(found.drafts, found.ledger, system, instruction, mask)
        found.ledger.repaired += corrected.done
        dataset = _dataset(_without(raw, found, without), found, examples, system, instruction)
        return with_actions(dataset, Places(raw, found.own, found.across))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of small objects are made and kept: to look through them for garbage takes long and finds none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _understood(raw: Raw, sheet: str | None, wanted: Mapping[str, str], without: Sequence[int]) -> _Understood:
    if not wanted and (marked := _marked(raw, sheet, without)) is not None:
        return marked
    if raw.sheets:
        return _table(raw, sheet, wanted, without)
    return _records(raw, wanted, without) if raw.records else _lines(raw, without)


def _used_sheet(raw: Raw, sheet: str | None, wanted: Mapping[str, str]) -> Sheet | None:
    """The sheet of `raw` that its data is taken from; None where there are no sheets."""
    if not raw.sheets:
        return None
    if not wanted and (only := _one_column(raw.sheets, sheet) or _marked_sheet(raw.sheets, sheet)) is not None:
        return only
    try:
        return choose_sheet(raw.sheets, sheet, wanted).own
    except DataError as error:
        filled = [s for s in raw.sheets if (sheet is None or s.name == sheet) and any(any(r.cells) for r in s.rows)]
        if error.code != "no_columns" or wanted or len(filled) != 1:
            raise
        return filled[0]


def _without(raw: Raw, found: _Understood, without: Sequence[int]) -> Raw:
    """Without what the reader said about rows that are left out. A record that it could not read is left out too."""
    if not without:
        return raw
    gone = frozenset(without)
    issues = (one for one in raw.issues if not (one.row in gone and of_sheet(one, found.sheet)))
    repaired = (one for one in raw.repaired if not (one.row in gone and of_sheet(one, found.sheet)))
    left = (left_out(one.row) if one.row in gone else one for one in raw.left)
    return replace(raw, issues=tuple(issues), repaired=tuple(repaired), left=tuple(left))


def _dataset(
    raw: Raw, found: _Understood, examples: Sequence[Settled], system: str | None, instruction: str | None
) -> Dataset:
    ledger = found.ledger
    used = {at for one in examples for at in one.at}
    dropped, not_data = ledger.close(used)
    return Dataset(
        path=raw.path, sha256=raw.sha256, format=raw.format, encoding=raw.encoding,
        rows=len(ledger.numbers) + len(raw.left), examples=tuple(one.example for one in examples),
        dropped=tuple(sorted((*raw.left, *dropped), key=lambda left: left.row)), not_data=not_data,
        issues=tuple(sorted((*raw.issues, *_form_issues(raw), *ledger.issues), key=lambda issue: issue.row or 0)),
        repaired=tuple(sorted((*_worth_showing(raw), *ledger.repaired), key=lambda repair: repair.row or 0)),
        shape=found.shape, sheet=found.sheet, header_row=found.header_row,
        columns=found.columns, column_names=found.names, system=system, instruction=instruction,
    )  # fmt: skip


def _worth_showing(raw: Raw) -> list[Repair]:
    """The reader's repairs. A byte order mark is how Excel writes CSV files, and no damage."""
    plain = raw.format in ("csv", "tsv", "txt")
    return [repair for repair in raw.repaired if not (plain and repair.code == "bom")]


def _form_issues(raw: Raw) -> list[Issue]:
    """What the reader's repairs say about the file: each damaged JSON record, and merged cells once."""
    issues = [
        Issue(repair.code, "advice", repair.row, repair.cell, repair.values)
        for repair in raw.repaired
        if repair.code in DAMAGE
    ]
    merged = [repair for repair in raw.repaired if repair.code == "merged_filled"]
    if merged:
        issues.append(
            Issue("merged_filled", "advice", min(repair.row or 1 for repair in merged), None, {"count": len(merged)})
        )
    return issues


def _wanted(columns: Mapping[str, str] | None) -> dict[str, str]:
    wanted = {role: text for role, text in (columns or {}).items() if text}
    for role in wanted:
        if role not in ROLES:
            raise DataError("role_unknown", role=role, roles=", ".join(ROLES))
    if "label" in wanted:
        wanted["answer"] = wanted.pop("label")
    return wanted


def _examples(
    drafts: Sequence[Draft], ledger: Ledger, system: str | None, instruction: str | None, mask: bool
) -> list[Settled]:
    """Mended, settled, without duplicates, checked; then with the prompt for all rows."""
    drafts = _without_texts(drafts, ledger)
    for draft in drafts:
        for turn in (*draft.turns, *([draft.rejected] if draft.rejected else [])):
            mend(turn, ledger)
    wrapped([turn for draft in drafts for turn in draft.turns], ledger)
    unnumbered([turn for draft in drafts for turn in draft.turns if turn.role == "user"], ledger)
    settled = [one for draft in drafts if (one := settle(draft, ledger)) is not None]
    settled = with_rejected(without_placeholders(settled, ledger), ledger)
    if mask:
        settled = [masked(one, ledger) for one in settled]
    settled = without_duplicates(settled, ledger)
    if system and (own := sum(one.example.messages[0].role == "system" for one in settled)):
        ledger.issue("own_system_kept", "advice", count=own)
    check(settled, ledger)
    _note_texts(settled, ledger)
    return [prompted(one, system, instruction) for one in settled]


def _note_texts(settled: Sequence[Settled], ledger: Ledger) -> None:
    """A file of texts has no questions, and there is one thing that it is good for."""
    if settled and all(not one.example.question for one in settled):
        ledger.issue("texts_only", "advice", count=len(settled))


def _without_texts(drafts: Sequence[Draft], ledger: Ledger) -> list[Draft]:
    """Texts among dialogues are questions that nobody has answered."""
    if not any(draft.reads for draft in drafts) or all(draft.reads for draft in drafts):
        return list(drafts)
    for draft in drafts:
        if draft.reads:
            for at in draft.at:
                ledger.drop(at, "missing_answer", draft.turns[0].cell, text=draft.turns[0].content.strip()[:60])
    return [draft for draft in drafts if not draft.reads]


# ── tables ────────────────────────────────────────────────────────────────────────────────────────


def _table(raw: Raw, sheet: str | None, wanted: Mapping[str, str], without: Sequence[int]) -> _Understood:
    if not wanted and (only := _one_column(raw.sheets, sheet)) is not None:
        lines = [Line(row.number, next((cell for cell in row.cells if not blank(cell)), "")) for row in only.rows]
        gone = check_rows(without, [line.number for line in lines])
        return replace(_spoken(lines, gone), sheet=only.name, own=only)
    try:
        chosen = choose_sheet(raw.sheets, sheet, wanted)
    except DataError as error:
        if error.code != "no_columns" or wanted or (read_only := _texts(raw.sheets, sheet, without)) is None:
            raise
        return read_only
    rows = chosen.sheet.rows
    ledger = Ledger([row.number for row in rows])
    gone = ledger.leave_out(check_rows(without, ledger.numbers))
    _note_form(chosen, ledger)
    wide = {top for top, left, bottom, right in chosen.sheet.merged if right > left}
    table = Table(
        [row.cells for row in rows], range(len(rows)), True,
        frozenset(i for i, row in enumerate(rows) if row.number in wide), chosen.across, gone,
    )  # fmt: skip
    drafts = read_table(table, chosen.layout, ledger)
    layout = chosen.layout
    roles = dict(layout.roles)
    for question, answer in layout.beside:
        roles = {"question": (*roles["question"], question), "answer": (*roles["answer"], answer)}
    return _Understood(
        ledger, drafts, _shape(layout), chosen.sheet.name,
        rows[layout.header].number if layout.header is not None and not chosen.across else None,
        {role: ",".join(_letter(chosen, c) for c in found) for role, found in roles.items()},
        {role: ", ".join(layout.names[c] for c in found) for role, found in roles.items()},
        own=chosen.own, across=bool(chosen.across),
    )  # fmt: skip


def _texts(sheets: Sequence[Sheet], wanted: str | None, without: Sequence[int]) -> _Understood | None:
    """The texts of the only sheet with content, if it has one column of them; None if it is none of that kind."""
    filled = [s for s in sheets if (wanted is None or s.name == wanted) and any(any(row.cells) for row in s.rows)]
    found = text_column(filled[0]) if len(filled) == 1 else None
    if found is None:
        return None
    (own,), (column, header) = filled, found
    ledger = Ledger([row.number for row in own.rows])
    ledger.leave_out(check_rows(without, ledger.numbers))
    drafts = []
    for at, row in enumerate(own.rows):
        text = row.cells[column] if column < len(row.cells) else ""
        if at == header:
            ledger.skip(at, "header_row")
        elif blank(text):
            ledger.skip(at, "empty_row" if any(not blank(cell) for cell in row.cells) else "blank_row")
        elif not ledger.known(at):
            drafts.append(draft_of(text, at, f"{column_letter(column + 1)}{row.number}"))
    name = own.rows[header].cells[column] if header is not None else ""
    return _Understood(
        ledger, drafts, "texts", own.name, None if header is None else own.rows[header].number,
        {"text": column_letter(column + 1)}, {"text": name}, own=own,
    )  # fmt: skip


def _one_column(sheets: Sequence[Sheet], wanted: str | None) -> Sheet | None:
    """The sheet whose one column holds 问：… and 答：… in turn, if it is the only one with content."""
    filled = [s for s in sheets if (wanted is None or s.name == wanted) and any(any(row.cells) for row in s.rows)]
    if len(filled) != 1:
        return None
    first: int | None = None
    texts = []
    for row in filled[0].rows:
        for column, cell in enumerate(row.cells):
            if not blank(cell):
                if first not in (None, column):
                    return None
                first = column
                texts.append(cell)
    return filled[0] if are_marked(texts) else None


def _shape(layout: Layout) -> str:
    if {"message", "dialogue"} & set(layout.roles):
        return "messages" if "message" in layout.roles else "chat"
    return "conversation" if {"conversation", "turn"} & set(layout.roles) else "table"


def _note_form(chosen: Choice, ledger: Ledger) -> None:
    """What a person should know about how the table was understood."""
    layout = chosen.layout
    if chosen.across:
        question, answer = (
            ", ".join(_letter(chosen, c) for c in layout.roles[role]) for role in ("question", "answer")
        )
        ledger.issue("sheet_across", "warning", None, None, question=question, answer=answer)
    if chosen.others:
        names = ", ".join(_described(sheet) for sheet in chosen.others)
        ledger.issue("other_sheets_not_used", "warning", sheets=names, sheet=chosen.sheet.name)
    if layout.header is None and not chosen.across:
        ledger.issue("header_missing", "advice", 0)
    elif layout.header is not None:
        _note_damaged(chosen, layout.header, ledger)
    if layout.guessed and not chosen.across:
        question, answer = (_named(chosen, role) for role in ("question", "answer"))
        ledger.issue(
            "columns_guessed", "advice" if layout.header is None else "warning", question=question, answer=answer
        )
    if layout.fields or len(layout.roles.get("answer", ())) > 1:
        ledger.issue("answer_columns_joined", "advice", columns=_named(chosen, "answer"))
    if "similar" in layout.roles:
        ledger.issue("similar_questions_used", "advice", columns=_named(chosen, "similar"))
    if layout.unused:
        names = ", ".join(f"{_letter(chosen, c)} {layout.names[c]}".strip() for c in layout.unused)
        ledger.issue("columns_not_used", "advice", columns=names, count=len(layout.unused))


def _note_damaged(chosen: Choice, header: int, ledger: Ledger) -> None:
    layout = chosen.layout
    for column in {c for found in layout.roles.values() for c in found}:
        name = layout.names[column]
        if not meanings(name) and (right := misspelt(name)):
            cell = None if chosen.across else f"{column_letter(column + 1)}{ledger.numbers[header]}"
            ledger.repair("key_repaired", header, name, right[0], cell, key=name, right=right[0])
            ledger.issue("damaged_key", "warning", header, cell, key=name, right=right[0])


def _described(sheet: Sheet) -> str:
    return f"{sheet.name} ({len(sheet.rows)})"


def _named(chosen: Choice, role: str) -> str:
    layout = chosen.layout
    return ", ".join(f"{_letter(chosen, c)} {layout.names[c]}".strip() for c in layout.roles.get(role, ()))


def _letter(chosen: Choice, column: int) -> str:
    """What the sheet calls a column of the table: its letter, or the row's number if the table lies on its side."""
    return str(chosen.across[column]) if chosen.across else column_letter(column + 1)


# ── marks in texts ────────────────────────────────────────────────────────────────────────────────


def _marked(raw: Raw, sheet: str | None, without: Sequence[int]) -> _Understood | None:
    """The texts of a file that holds a piece of a text with its tag on each row, or one text with marks inside it."""
    if raw.records:
        return None
    own = _marked_sheet(raw.sheets, sheet)
    rows = own.rows if own is not None else pieces_of_lines(raw.lines)
    pieces = find_pieces(rows)
    texts = [] if pieces else _alone(own.rows if own else [Row(line.number, (line.text,)) for line in raw.lines])
    if pieces is None and not are_inline([text for _, text, _ in texts]):
        return None
    ledger = Ledger([row.number for row in rows])
    ledger.leave_out(check_rows(without, ledger.numbers))
    name = own.name if own is not None else None
    if pieces is not None:
        drafts = read_pieces(rows, pieces, ledger, own is not None)
        header = rows[pieces.header].number if pieces.header is not None and own is not None else None
        columns = {"question": column_letter(pieces.token + 1), "answer": column_letter(pieces.tag + 1)}
        return _Understood(ledger, drafts, "tags", name, header, columns if own is not None else {}, own=own)
    used = {i for i, _, _ in texts}
    for i in range(len(rows)):
        if i not in used:
            ledger.skip(i, "blank_row")
    drafts = read_inline([one for one in texts if not ledger.known(one[0])], ledger)
    return _Understood(ledger, drafts, "inline", name, own=own)


def _marked_sheet(sheets: Sequence[Sheet], wanted: str | None) -> Sheet | None:
    """The sheet with tags or with marks inside its texts; None where there is none."""
    for sheet in sheets:
        if wanted is None or sheet.name == wanted:
            texts = [text for _, text, _ in _alone(sheet.rows)]
            if find_pieces(sheet.rows) is not None or are_inline(texts):
                return sheet
    return None


def _alone(rows: Sequence[Row]) -> list[tuple[int, str, str | None]]:
    """(index, text, cell) of each row, if all texts stand in one column; else nothing."""
    found: list[tuple[int, str, str | None]] = []
    column: int | None = None
    for i, row in enumerate(rows):
        for c, cell in enumerate(row.cells):
            if not blank(cell):
                if column not in (None, c):
                    return []
                column = c
                found.append((i, cell, f"{column_letter(c + 1)}{row.number}"))
    return found


# ── records and lines ─────────────────────────────────────────────────────────────────────────────


def _records(raw: Raw, wanted: Mapping[str, str], without: Sequence[int]) -> _Understood:
    ledger = Ledger([record.row for record in raw.records])
    ledger.leave_out(check_rows(without, [*ledger.numbers, *(left.row for left in raw.left)]))
    drafts, shape, columns = read_records(raw.records, wanted, ledger)
    if not drafts and {issue.code for issue in ledger.issues} == {"missing_answer"}:
        keys = dict.fromkeys(
            key for record in raw.records[:50] if isinstance(record.value, dict) for key in record.value
        )
        raise DataError("no_keys", keys=", ".join(list(keys)[:20]))
    return _Understood(ledger, drafts, shape, columns=columns, names=columns)


def _lines(raw: Raw, without: Sequence[int]) -> _Understood:
    if not raw.lines:
        if raw.left:
            raise DataError("no_json", rows=[left.row for left in raw.left[:3]], n=len(raw.left))
        raise DataError("no_rows")
    return _spoken(raw.lines, check_rows(without, [line.number for line in raw.lines]))


def _spoken(lines: Sequence[Line], gone: frozenset[int]) -> _Understood:
    """The dialogues of marked lines."""
    ledger = Ledger([line.number for line in lines])
    ledger.leave_out(gone)
    try:
        drafts, shape = read_lines(lines, ledger)
    except DataError as error:
        if error.code != "no_dialogue_found" or not (drafts := read_texts(lines, ledger)):
            raise
        shape = "texts"
    return _Understood(ledger, drafts, shape)
