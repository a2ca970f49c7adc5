"""Rows of a table become dialogues: pairs, turns held together by an id, or one message a row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from postil.dataset.blocks import turns_in
from postil.dataset.columns import Cells, Layout
from postil.dataset.drafts import Draft, Ledger, Turn, blank
from postil.dataset.names import normal
from postil.dataset.raw import column_letter
from postil.dataset.speakers import cast, role_of
from postil.dataset.words import listed
from postil.records import Issue, Role

_TOTALS = listed("totals")
_TOTAL_STARTS = frozenset(word[0] for word in _TOTALS) | {"共"}
_COUNT = re.compile(r"(?:共|合计|总计|total)\s{0,3}[:：]?\s{0,3}\d{1,9}\s{0,3}(?:条|行|个|项|rows?|items?)?", re.I)
_SECTION = re.compile(
    r"[（(]?[一二三四五六七八九十]{1,3}[)）]?\s{0,3}[、.．:：].{1,30}|第[一二三四五六七八九十\d]{1,4}[章节部分类篇].{0,30}"
    r"|【[^】]{1,30}】|《[^》]{1,30}》|[#=—*\-]{2,60}.{0,40}|(?:part|section|chapter)\b.{0,40}",
    re.I,
)
_NOTE = re.compile(
    r"(?:注意|注|备注|说明|附注|提示|填写说明|数据来源|以上|note|notes|remark|source)\s{0,3}[:：]|[*※]\s?|以上内容|以上为",
    re.I,
)
_NUMBER = re.compile(r"[\s\d.,:：/年月日时分秒\-#%]{1,60}")
_OWN = re.compile("send|self|fromme|本人|是否发送")
LONG_CHAT = 20  # messages without an id or a blank row between them: more are hardly one dialogue


@dataclass(frozen=True)
class Table:
    """The rows of one table. `at`: each row's index in the ledger. `lettered`: cells have addresses such as B7.

    `across`: the table lies on its side; the row number in the sheet of each of its columns. `gone`: indexes of rows
    that a person leaves out (the ledger knows them): what is told from all rows is told as if they were there.
    """

    rows: Sequence[Cells]
    at: Sequence[int]
    lettered: bool = True
    wide: frozenset[int] = frozenset()  # indexes of rows with cells merged across columns
    across: tuple[int, ...] = ()
    gone: frozenset[int] = frozenset()

    def kept(self, rows: Sequence[int]) -> list[int]:
        """Those rows that are not left out."""
        return [i for i in rows if i not in self.gone] if self.gone else list(rows)


def read_table(table: Table, layout: Layout, ledger: Ledger) -> list[Draft]:
    """All dialogues of a table. What is no data goes to the ledger."""
    body = _lay_aside(table, layout, ledger)
    if layout.of("dialogue") is not None:
        return [draft for i in table.kept(body) if (draft := _whole_chat(table, layout, i, ledger)) is not None]
    if layout.of("message") is not None:
        return _chat_log(table, layout, ledger, body)
    if layout.of("conversation") is not None or layout.of("turn") is not None:
        return _conversations(table, layout, ledger, body)
    if layout.beside:
        return _side_by_side(table, layout, ledger, table.kept(body))
    return [draft for i in table.kept(body) for draft in _pairs(table, layout, i, ledger)]


def _side_by_side(table: Table, layout: Layout, ledger: Ledger, body: Sequence[int]) -> list[Draft]:
    """The pairs of tables that stand beside each other, one table after the other."""
    first = (layout.roles["question"][0], layout.roles["answer"][0])
    drafts = []
    for question, answer in (first, *layout.beside):
        own = replace(layout, roles={"question": (question,), "answer": (answer,)}, beside=())
        for i in body:
            if not blank(_cell(table.rows[i], question)) or not blank(_cell(table.rows[i], answer)):
                drafts += _pairs(table, own, i, ledger)
    return drafts


def address(table: Table, ledger: Ledger, i: int, column: int | None) -> str | None:
    """The cell's address, B7, where cells have one."""
    if not table.lettered or column is None:
        return None
    number = ledger.numbers[table.at[i]]
    return f"{_letter(number - 1)}{table.across[column]}" if table.across else f"{_letter(column)}{number}"


_LETTERS = [column_letter(n) for n in range(1, 703)]


def _letter(column: int) -> str:
    return _LETTERS[column] if column < len(_LETTERS) else column_letter(column + 1)


# ── what is data and what is not ──────────────────────────────────────────────────────────────────


def _lay_aside(table: Table, layout: Layout, ledger: Ledger) -> list[int]:
    """The indexes of the data rows. Titles, the header, blank rows, sections and totals go to the ledger."""
    body: list[int] = []
    titles: list[int] = []
    header = _stripped(table.rows[layout.header]) if layout.header is not None else ()
    data = _data_columns(layout)
    for i, row in enumerate(table.rows):
        at = table.at[i]
        if layout.header is not None and i < layout.header and not _empty(row):
            ledger.skip(at, "title_row")
            titles += [ledger.numbers[at]] if i not in table.gone else []
        elif _empty(row):
            ledger.skip(at, "blank_row")
        elif i == layout.header or (header and row[0].strip() == header[0] and _stripped(row) == header):
            ledger.skip(at, "header_row")
        else:
            reason = _no_data(row, data, i in table.wide)
            if reason == "empty_row":
                ledger.skip(at, reason)
            elif reason:
                ledger.drop(at, reason, _first_cell(table, ledger, i), severity="advice", text=_joined(row))
            else:
                body.append(i)
    if titles:
        ledger.issues.append(_title_issue(titles))
    return body


def _title_issue(titles: Sequence[int]) -> Issue:
    return Issue("title_rows", "advice", titles[0], None, {"rows": ", ".join(map(str, titles)), "count": len(titles)})


def _empty(row: Cells) -> bool:
    return all(blank(cell) for cell in row)


def _stripped(row: Cells) -> Cells:
    return tuple(cell.strip() for cell in row)


def _joined(row: Cells) -> str:
    return " ".join(dict.fromkeys(cell.strip() for cell in row if not blank(cell)))[:80]


def _first_cell(table: Table, ledger: Ledger, i: int) -> str | None:
    return address(table, ledger, i, next(c for c, cell in enumerate(table.rows[i]) if not blank(cell)))


def _data_columns(layout: Layout) -> tuple[frozenset[int], frozenset[int]]:
    asks = [c for role in ("question", "context", "similar", "message", "dialogue") for c in layout.roles.get(role, ())]
    asks += [question for question, _ in layout.beside]
    answers = [*layout.roles.get("answer", ()), *(answer for _, answer in layout.beside)]
    return frozenset(asks), frozenset(answers)


def _no_data(row: Cells, data: tuple[frozenset[int], frozenset[int]], wide: bool) -> str | None:
    """Why this row is no data: total_row, section_row, note_row, empty_row, missing_both; None if it is data."""
    filled = [(c, cell.strip()) for c, cell in enumerate(row) if not blank(cell)]
    asks, answers = data
    asked = any(c in asks for c, _ in filled)
    answered = any(c in answers for c, _ in filled) if answers else asked
    one = len({text for _, text in filled}) == 1 and (wide or len(filled) == 1)
    if asked and answered and not (one and wide):
        return "total_row" if _total(filled[0][1]) and _NUMBER.fullmatch(filled[-1][1][:60]) else None
    if any(_total(text) for _, text in filled if len(text) <= 30):
        return "total_row"
    if one:
        return _lonely(filled[0][1], asked or answered, wide)
    if asked or answered:
        return None
    return "empty_row" if all(_NUMBER.fullmatch(text) for _, text in filled) else "missing_both"


def _total(text: str) -> bool:
    if len(text) > 30 or text.lstrip("【[(（*# ")[:1].casefold() not in _TOTAL_STARTS:
        return False
    return normal(text) in _TOTALS or bool(_COUNT.fullmatch(text))


def _lonely(text: str, in_data: bool, wide: bool) -> str | None:
    """The only text of its row: a heading, a note, a serial number, or half a pair."""
    if _NOTE.match(text):
        return "note_row"
    if wide or (_SECTION.fullmatch(text[:80]) and text[-1] not in "?？吗"):
        return "section_row"
    if in_data:
        return None
    return "empty_row" if _NUMBER.fullmatch(text[:61]) else "section_row"


# ── a row is a pair ───────────────────────────────────────────────────────────────────────────────


def _cell(row: Cells, column: int | None) -> str:
    return row[column] if column is not None and column < len(row) else ""


def _pairs(table: Table, layout: Layout, i: int, ledger: Ledger) -> list[Draft]:
    """The pair of a row, and one more for each other way to put its question."""
    row, at = table.rows[i], table.at[i]
    first = Draft(_turns(table, layout, i, ledger), (at,), rejected=_rejected(table, layout, i, ledger))
    similar = [c for c in layout.roles.get("similar", ()) if not blank(_cell(row, c))]
    if not similar:
        return [first]
    group = f"row {ledger.numbers[at]}"
    first.group = group
    drafts = [first] if not blank(_asked(row, layout)) else []
    for column in similar:
        where = address(table, ledger, i, column)
        for text in filter(None, (part.strip() for part in _cell(row, column).splitlines())):
            turns = [t if t.role != "user" else Turn("user", text, (at,), where) for t in first.turns]
            if not any(t.role == "user" for t in turns):
                turns.insert(len(turns) - 1, Turn("user", text, (at,), where))
            drafts.append(Draft(turns, (at,), group, rejected=first.rejected))
    return drafts


def _whole_chat(table: Table, layout: Layout, i: int, ledger: Ledger) -> Draft | None:
    """The dialogue that stands whole in one cell."""
    column, at = layout.of("dialogue"), table.at[i]
    text, where = _cell(table.rows[i], column), address(table, ledger, i, column)
    said = turns_in(text)
    if not said:
        ledger.drop(at, "not_understood" if not blank(text) else "empty_conversation", where)
        return None
    ledger.repair("chat_read", at, text, " / ".join(f"{role}: {words}" for role, words in said), where)
    return Draft([Turn(role, words, (at,), where) for role, words in said], (at,))


def _asked(row: Cells, layout: Layout) -> str:
    parts = [_cell(row, c) for role in ("question", "context") for c in layout.roles.get(role, ())]
    if len(parts) == 1:
        return parts[0]
    return "\n".join(part for part in parts if not blank(part))


def _answered(row: Cells, layout: Layout) -> str:
    columns = layout.roles.get("answer", ())
    if len(columns) == 1:
        return _cell(row, columns[0])
    if not layout.fields:
        return "\n".join(_cell(row, c) for c in columns if not blank(_cell(row, c)))
    values = {layout.names[c] or column_letter(c + 1): _cell(row, c).strip() for c in columns}
    return json.dumps(values, ensure_ascii=False) if any(values.values()) else ""


def _turns(table: Table, layout: Layout, i: int, ledger: Ledger) -> list[Turn]:
    row, at = table.rows[i], (table.at[i],)
    turns = []
    if (column := layout.of("system")) is not None and not blank(_cell(row, column)):
        turns.append(Turn("system", _cell(row, column), at, address(table, ledger, i, column)))
    question = next((c for c in layout.roles["question"] if not blank(_cell(row, c))), layout.of("question"))
    turns.append(Turn("user", _asked(row, layout), at, address(table, ledger, i, question)))
    answer = next((c for c in layout.roles["answer"] if not blank(_cell(row, c))), layout.of("answer"))
    turns.append(Turn("assistant", _answered(row, layout), at, address(table, ledger, i, answer)))
    return turns


def _rejected(table: Table, layout: Layout, i: int, ledger: Ledger) -> Turn | None:
    column = layout.of("rejected")
    if column is None:
        return None
    where = address(table, ledger, i, column)
    return Turn("assistant", _cell(table.rows[i], column), (table.at[i],), where)


# ── rows held together by an id ───────────────────────────────────────────────────────────────────


def _conversations(table: Table, layout: Layout, ledger: Ledger, body: Sequence[int]) -> list[Draft]:
    drafts = []
    for rows in filter(None, map(table.kept, _groups(table, layout, ledger, body))):
        draft = Draft([], tuple(table.at[i] for i in rows))
        for i in _in_order(table, layout, ledger, rows):
            draft.turns += _turns(table, layout, i, ledger)
        drafts.append(draft)
    return drafts


def _groups(table: Table, layout: Layout, ledger: Ledger, body: Sequence[int]) -> Iterable[list[int]]:
    """Rows of one dialogue: the same id (an empty one goes with the id above), or turn numbers that start anew."""
    key_column, turn_column = layout.of("conversation"), layout.of("turn")
    if key_column is not None and all(blank(_cell(table.rows[i], key_column)) for i in body):
        key_column = None
    groups: dict[str, list[int]] = {}
    key, last, name = "", None, layout.names[key_column] if key_column is not None else ""
    for i in body:
        row = table.rows[i]
        if key_column is not None:
            own = _cell(row, key_column).strip()
            if not own and key and i not in table.gone:
                where = address(table, ledger, i, key_column)
                ledger.repair("id_filled", table.at[i], "", key, where, column=name)
            key = own or key or f"\0{i}"
        elif turn_column is not None:
            turn = _number(_cell(row, turn_column))
            if turn is None or last is None or turn <= last:
                key = f"\0{i}"
            last = turn
        else:
            key = f"\0{i}"
        groups.setdefault(key, []).append(i)
    return groups.values()


def _number(text: str) -> float | None:
    found = re.search(r"\d{1,9}", text)
    return float(found.group()) if found else None


def _in_order(table: Table, layout: Layout, ledger: Ledger, rows: list[int]) -> list[int]:
    """The rows of a dialogue by turn number, else by time where the export runs backwards."""
    for role in ("turn", "time"):
        column = layout.of(role)
        if column is None or len(rows) < 2:
            continue
        keys = [_cell(table.rows[i], column).strip() for i in rows]
        if role == "time" and not (
            all(keys) and len({len(k) for k in keys}) == 1 and keys == sorted(keys, reverse=True)
        ):
            continue
        values = [_number(k) for k in keys] if role == "turn" else keys
        if None in values or len(set(values)) < len(values):
            continue
        order = [i for _, i in sorted(zip(values, rows, strict=True), key=lambda pair: pair[0])]  # type: ignore[arg-type,return-value]
        if order != rows:
            numbers = [str(ledger.numbers[table.at[i]]) for i in rows]
            sorted_numbers = [str(ledger.numbers[table.at[i]]) for i in order]
            ledger.repair("turns_sorted", table.at[rows[0]], ", ".join(numbers), ", ".join(sorted_numbers))
        return order
    return rows


# ── one message a row ─────────────────────────────────────────────────────────────────────────────


def _chat_log(table: Table, layout: Layout, ledger: Ledger, body: Sequence[int]) -> list[Draft]:
    speaker, message = layout.of("speaker"), layout.of("message")
    names = [_cell(table.rows[i], speaker).strip() for i in body]
    roles, guessed = cast(name for name in names if name)
    if set(roles) <= {"0", "1", "TRUE", "FALSE", "true", "false"} and speaker is not None:
        roles, guessed = _sent(layout.names[speaker], roles), False
    if guessed:
        said = ", ".join(f"{name} = {role}" for name, role in list(roles.items())[:6])
        ledger.issue("speakers_guessed", "warning", table.at[body[0]], None, speakers=said)
    drafts = []
    for rows in filter(None, map(table.kept, _chats(table, layout, ledger, body, roles))):
        draft = Draft([], tuple(table.at[i] for i in rows))
        for i in _in_order(table, layout, ledger, rows):
            name = _cell(table.rows[i], speaker).strip()
            text, where = _cell(table.rows[i], message), address(table, ledger, i, message)
            if blank(text):
                ledger.drop(table.at[i], "empty_message", where, severity="warning")
            elif not name:
                ledger.drop(table.at[i], "speaker_missing", address(table, ledger, i, speaker), severity="warning")
            elif roles[name] == "system" and draft.turns:
                ledger.skip(table.at[i], "system_notice")
            else:
                draft.say(roles[name], text, table.at[i], where)
        drafts.append(draft)
    return drafts


def _sent(heading: str, roles: Mapping[str, Role]) -> dict[str, Role]:
    """Roles where a column says whether the owner of the export, the house, has sent the message: 1 or 0."""
    house = ("1", "TRUE", "true") if _OWN.search(normal(heading)) else ()
    return {name: "assistant" if name in house else "user" for name in roles} if house else dict(roles)


def _chats(
    table: Table, layout: Layout, ledger: Ledger, body: Sequence[int], roles: Mapping[str, Role]
) -> Iterable[list[int]]:
    """Rows of one chat: by id or turn where there is one; else a blank row, another customer or a prompt begins one."""
    if layout.of("conversation") is not None or layout.of("turn") is not None:
        return _groups(table, layout, ledger, body)
    speaker = layout.of("speaker")
    chats: list[list[int]] = []
    guest = ""
    system = {name for name, role in roles.items() if role == "system"}
    house = {name for name, role in roles.items() if role != "user"}
    for before, i in zip([None, *body], body, strict=False):
        name = _cell(table.rows[i], speaker).strip()
        other = bool(name) and name not in house and bool(guest) and name != guest
        prompt = name in system and not (
            chats and all(_cell(table.rows[j], speaker).strip() in system for j in chats[-1])
        )
        if before is None or i - before > 1 or other or prompt:
            chats.append([])
            guest = ""
        guest = name if name and name not in house else guest
        chats[-1].append(i)
    if len(chats) > 1 or len(body) <= LONG_CHAT:
        return chats
    if role_of(guest) == "user":  # no name that could tell one customer from the next
        ledger.issue("pairs_not_separated", "warning", table.at[body[0]])
        return _one_by_one(table, speaker, body, roles)
    ledger.issue("chats_not_separated", "warning", table.at[body[0]], count=len(body))
    return chats


def _one_by_one(table: Table, speaker: int | None, body: Sequence[int], roles: Mapping[str, Role]) -> list[list[int]]:
    """Each question with its answer: a new chat where a user speaks after the other side has spoken."""
    chats: list[list[int]] = []
    last: Role | None = None
    for i in body:
        role = roles.get(_cell(table.rows[i], speaker).strip(), last)
        if not chats or (role == "user" and last != "user"):
            chats.append([])
        chats[-1].append(i)
        last = role
    return chats
