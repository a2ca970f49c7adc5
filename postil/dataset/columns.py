"""Which row of a table is its header, and which column plays which role: by name in two languages, else by content."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from postil.dataset.blocks import turns_in
from postil.dataset.drafts import blank
from postil.dataset.names import meanings, misspelt, normal, stem
from postil.dataset.raw import column_letter
from postil.errors import DataError

Cells = tuple[str, ...]
ROLES = (  # all that a column or key can be; each has its word in `locales/`
    "question", "answer", "rejected", "context", "system", "conversation", "turn", "speaker", "message", "time",
    "similar", "dialogue", "label", "text", "content", "role",
)  # fmt: skip
HEADER_WITHIN = 30  # rows that are searched for a header
NONE = "-"  # said by a user for a role that no column has, whatever its heading is
SAMPLE = 400  # rows that are looked at to judge a column by its content

_NUMERIC = re.compile(r"[-+]?[¥￥$€]?[\d,.]{1,40}\s?[%％元件个条次天分]?")
_TIME = re.compile(r"(?:\d{2,4}[-/.年]\d{1,2}(?:[-/.月]\d{1,2}日?)?)?[ T]?(?:\d{1,2}:\d{2}(?::\d{2})?(?:\.\d{1,6})?)?")
_CODE = re.compile(r"[A-Za-z]{0,6}[-_#]?\d[\dA-Za-z_-]{0,40}|https?://\S{1,300}")
_ASKS = re.compile(
    r"[?？]|什么|怎么|如何|多少|为什么|哪|吗|几|能不能|可不可以|^(?:what|how|why|when|where|who|can|do|is)\b", re.I
)
_SENTENCE = re.compile(r"[。！？!?；;]|.[,，].")
_REPLY = re.compile("回复|答复|回应|reply|replies|response")
_REVIEW = re.compile("评|留言|反馈|投诉|review|comment|feedback")
_PARCEL = re.compile("地址|收货|收件|address")
_RECEIVER = frozenset(("姓名", "电话", "手机", "手机号", "手机号码", "联系电话", "邮编", "name", "phone", "mobile"))
_LABELS_FIRST = (
    "标签",
    "label",
    "labels",
    "情感",
    "情感倾向",
    "情感标签",
    "情绪",
    "sentiment",
    "意图",
    "intent",
    "标注",
)


@dataclass(frozen=True)
class Layout:
    """The roles of a table's columns.

    roles: of `ROLES` -> column indexes from 0, the parts of a question or an answer in order; dialogue: whole chats.
    header: index of the header row, None if there is none. guessed: found by content. fields: several answer columns
    become one JSON object, not lines.
    """

    names: Cells
    roles: Mapping[str, tuple[int, ...]]
    header: int | None = None
    guessed: bool = False
    fields: bool = False
    unused: tuple[int, ...] = ()
    beside: tuple[tuple[int, int], ...] = ()  # question and answer of further tables with the same headings

    def of(self, role: str) -> int | None:
        columns = self.roles.get(role, ())
        return columns[0] if columns else None


@dataclass(frozen=True)
class Column:
    """What the cells of a column look like, from a sample: fractions of the filled cells, mean length in characters."""

    filled: float = 0.0
    length: float = 0.0
    asks: float = 0.0
    numbers: float = 0.0
    distinct: float = 0.0
    talks: float = 0.0
    values: frozenset[str] = field(default_factory=frozenset)

    @property
    def text(self) -> bool:
        return self.filled > 0 and self.numbers < 0.6


def find_layout(rows: Sequence[Cells], wanted: Mapping[str, str] | None = None) -> Layout | None:
    """The layout of a table, or None if no question and answer can be found in it.

    `wanted`: role -> column letter or header text, "-" for none; raises DataError if there is no such column.
    """
    width = max((len(row) for row in rows), default=0)
    if not width:
        return None
    header = _named_header(rows, wanted or {})
    if header is None:
        header = _header_by_look(rows, width)
    names = _padded(rows[header], width) if header is not None else ("",) * width
    if header is not None and header + 1 < len(rows) and _goes_on(rows[header], rows[header + 1]):
        header += 1
        names = tuple(name or second for name, second in zip(names, _padded(rows[header], width), strict=True))
    columns = look(rows[header + 1 :] if header is not None else rows, width)
    return settle_roles(names, columns, wanted, header)


def settle_roles(
    names: Cells, columns: Sequence[Column], wanted: Mapping[str, str] | None = None, header: int | None = None
) -> Layout | None:
    """Roles by the user's wish, then by name, then by content."""
    roles = roles_by_name(names, columns, wanted)
    wanted = {role: text for role, text in (wanted or {}).items() if text != NONE}
    taken = {find_column(text, names) for text in (wanted or {}).values()}
    if not wanted and (whole := _whole_chats(names, columns)) is not None:
        roles = {"dialogue": (whole,)}
    if not {"question", "message"} & set(roles) and (said := roles.get("conversation")) and _is_text(columns[said[0]]):
        del roles["conversation"]  # 对话 over a column of texts, not of ids
        roles["question"] = said
    guessed = fields = False
    if "dialogue" not in roles and "message" not in roles and not ("question" in roles and "answer" in roles):
        roles, guessed, fields = _by_content(names, columns, roles, taken)
    if not {"dialogue", "message"} & set(roles) and not ("question" in roles and "answer" in roles):
        return None
    if "time" in roles and not {"message", "conversation", "turn"} & set(roles):
        roles = {role: found for role, found in roles.items() if role != "time"}
    beside = () if wanted or guessed else _beside(names, columns, roles)
    used = {column for found in (*roles.values(), *beside) for column in found}
    unused = tuple(c for c in range(len(names)) if c not in used and columns[c].filled > 0)
    return Layout(names, roles, header, guessed, fields, unused, beside)


def _beside(
    names: Cells, columns: Sequence[Column], roles: Mapping[str, tuple[int, ...]]
) -> tuple[tuple[int, int], ...]:
    """Tables side by side: 问题 答案 _ 问题 答案. Question and answer of all but the first."""
    if set(roles) != {"question", "answer"} or len(roles["question"]) != 1 or len(roles["answer"]) != 1:
        return ()
    asks, answers = (
        [c for c, name in enumerate(names) if normal(name) == normal(names[roles[role][0]]) and columns[c].filled]
        for role in ("question", "answer")
    )
    pairs = tuple(zip(asks, answers, strict=False))
    in_turn = [column for pair in pairs for column in pair]
    if len(asks) != len(answers) or in_turn != sorted(in_turn) or len(pairs) < 2:
        return ()
    return pairs[1:] if pairs[0] == (roles["question"][0], roles["answer"][0]) else ()


def _is_text(column: Column) -> bool:
    return column.text and column.distinct > 0.8 and (column.asks >= 0.3 or column.length >= 8)


def _whole_chats(names: Cells, columns: Sequence[Column]) -> int | None:
    """The column whose cells hold whole chats (客户：… 客服：…), if no two columns plainly name question and answer."""
    plain = {
        role for name in names for role, strength in _meanings(name) if strength == 3 and role in ("question", "answer")
    }
    best = max(range(len(columns)), key=lambda c: columns[c].talks, default=None)
    return best if best is not None and columns[best].talks >= 0.6 and len(plain) < 2 else None


def roles_by_name(
    names: Cells, columns: Sequence[Column], wanted: Mapping[str, str] | None = None
) -> dict[str, tuple[int, ...]]:
    """Roles by the user's wish, then by name. A side that no name gives is missing."""
    refused = {role for role, text in (wanted or {}).items() if text == NONE}
    chosen = {role: (find_column(text, names),) for role, text in (wanted or {}).items() if text != NONE}
    _refuse_twice(chosen, names)
    roles = _by_name(names, columns, {column for found in chosen.values() for column in found})
    if set(chosen) & {"question", "answer"}:
        for role in ("message", "speaker"):
            roles.pop(role, None)
    if "question" in chosen:
        roles.pop("context", None)
    roles = {role: found for role, found in {**roles, **chosen}.items() if role not in refused}
    if "label" in roles:
        roles.setdefault("answer", roles["label"])
        del roles["label"]
    return roles


def _refuse_twice(chosen: Mapping[str, tuple[int, ...]], names: Cells) -> None:
    """Raises DataError where question and answer are named as one column: the model would learn to repeat."""
    if chosen.get("question", NONE) == chosen.get("answer", ()):
        column = chosen["question"][0]
        raise DataError("column_twice", column=names[column] or column_letter(column + 1), columns=list_columns(names))


def find_column(text: str, names: Cells) -> int:
    """The column that the user means by a header's text, or by a letter. Raises DataError if there is none."""
    for same in (lambda a: a.strip() == text.strip(), lambda a: normal(a) == normal(text)):
        for column, name in enumerate(names):
            if name.strip() and same(name):
                return column
    letters = text.strip().upper()
    if re.fullmatch(r"[A-Z]{1,3}", letters):
        number = 0
        for letter in letters:
            number = number * 26 + ord(letter) - 64
        if number <= len(names):
            return number - 1
    raise DataError("column_not_found", column=text, columns=list_columns(names))


def list_columns(names: Sequence[str]) -> str:
    """The columns in words: A 问题, B 答案."""
    return ", ".join(f"{column_letter(i + 1)} {name}".strip() for i, name in enumerate(names[:40]))


def look(rows: Sequence[Cells], width: int) -> list[Column]:
    """What each of the first `width` columns looks like, judged by a sample of the rows."""
    step = max(1, len(rows) // SAMPLE)
    sample = [row for row in rows[::step] if any(not blank(cell) for cell in row)]
    return [_look([row[c] for row in sample if c < len(row)], len(sample)) for c in range(width)]


def _look(cells: Sequence[str], rows: int) -> Column:
    texts = [cell.strip() for cell in cells if not blank(cell)]
    if not texts:
        return Column()
    count = len(texts)
    values = frozenset(texts)
    return Column(
        filled=count / max(1, rows),
        length=fmean(len(text) for text in texts),
        asks=sum(bool(_ASKS.search(text[:400])) for text in texts) / count,
        numbers=sum(_no_text(text) for text in texts) / count,
        distinct=len(values) / count,
        talks=sum(len(turns_in(text)) > 1 for text in texts[:60]) / min(count, 60),
        values=values if len(values) <= 50 else frozenset(),
    )


def _no_text(text: str) -> bool:
    if len(text) > 300:
        return False
    return bool(_NUMERIC.fullmatch(text) or _TIME.fullmatch(text) or _CODE.fullmatch(text))


def _goes_on(header: Cells, row: Cells) -> bool:
    """Whether the row below is the header's second line: headings merged over both lines stand in it again."""
    again = sum(not blank(a) and a.strip() == b.strip() for a, b in zip(header, row, strict=False))
    filled = [cell.strip() for cell in row if not blank(cell)]
    short = all(len(cell) <= 16 and not _SENTENCE.search(cell) and not _no_text(cell) for cell in filled)
    return 0 < again < len(filled) and short


def _padded(row: Cells, width: int) -> Cells:
    return tuple(cell.strip() for cell in row) + ("",) * (width - len(row))


# ── the header ────────────────────────────────────────────────────────────────────────────────────


def _named_header(rows: Sequence[Cells], wanted: Mapping[str, str]) -> int | None:
    """The first row that names a question and an answer, or that holds the headings the user asked for."""
    looked = [(i, row) for i, row in enumerate(rows[: HEADER_WITHIN * 3]) if any(not blank(c) for c in row)]
    best: tuple[int, int] | None = None
    for i, row in looked[:HEADER_WITHIN]:
        score = _header_score(row)
        if wanted:
            cells = {normal(cell) for cell in row if not blank(cell)}
            score += 10 * sum(normal(text) in cells for text in wanted.values() if not _is_letter(text))
        if score > (best[0] if best else 0):
            best = (score, i)
    return best[1] if best else None


def _is_letter(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z]{1,2}", text.strip()))


def _header_score(row: Cells) -> int:
    """How surely this row is a header: 0 unless it names two sides of a dialogue."""
    roles: dict[str, int] = {}
    for cell in row:
        if blank(cell) or len(cell) > 30:
            continue
        for role, strength in _meanings(cell):
            roles[role] = max(roles.get(role, 0), strength)
    asks = max(roles.get("question", 0), roles.get("instruction", 0), roles.get("input", 0))
    answers = max(roles.get("answer", 0), roles.get("label", 0))
    if len({normal(cell) for cell in row if not blank(cell)}) < 2:
        return 0
    if asks and answers:
        return asks + answers
    if roles.get("speaker") and roles.get("message"):
        return roles["speaker"] + roles["message"]
    known = sum(strength >= 3 for role, strength in roles.items())
    named = sum(bool(meanings(cell)) for cell in row if not blank(cell))
    return 2 if (asks >= 3 or answers >= 3) and not _sentences(row) else 1 if known and named >= 2 else 0


def _sentences(row: Cells) -> bool:
    return any(_SENTENCE.search(cell) for cell in row)


def _header_by_look(rows: Sequence[Cells], width: int) -> int | None:
    """The first full row, if its cells look like headings over the rest and not like one more row of it."""
    filled = [(i, row) for i, row in enumerate(rows[: HEADER_WITHIN * 3]) if sum(not blank(c) for c in row) >= 2]
    if len(filled) < 3:
        return None
    first, row = filled[0]
    below = look(rows[first + 1 :], width)
    signs = 0
    for cell, column in zip(row, below, strict=False):
        text = cell.strip()
        if blank(text) or _no_text(text) or len(text) > 16 or _SENTENCE.search(text) or _ASKS.search(text):
            if not blank(text):
                return None
            continue
        if text in column.values:
            return None
        longer = column.length >= 2.5 * len(text)
        numeric = column.numbers >= 0.8
        labels = bool(column.values) and column.distinct < 0.3
        signs += longer or numeric or labels
    return first if signs else None


# ── roles by name ─────────────────────────────────────────────────────────────────────────────────


def _by_name(names: Cells, columns: Sequence[Column], taken: set[int]) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[tuple[float, int]]] = {}
    for column, name in enumerate(names):
        if column in taken or not name:
            continue
        for role, strength in _meanings(name):
            worth = _worth(strength, columns[column], role)
            letter = len(name.strip()) == 1 and name.isascii()  # A may be an option: 答案 beside it says more
            found.setdefault(role, []).append((worth - 0.25 if letter else worth, column))
    _people_last(found, columns)
    _reviews_first(names, found)
    for entries in found.values():
        entries.sort(key=lambda entry: (-entry[0], entry[1]))
    roles: dict[str, tuple[int, ...]] = {}
    for role in ("system", "conversation", "turn", "time"):
        if role in found:
            roles[role] = (found[role][0][1],)
    if "similar" in found:
        roles["similar"] = tuple(sorted(column for _, column in found["similar"]))
    if _is_chat_log(found):
        roles["speaker"] = (found["speaker"][0][1],)
        roles["message"] = (next(c for _, c in found["message"] if c != roles["speaker"][0]),)
        return roles
    roles.update(_question_side(found))
    roles.update(_answer_side(names, columns, found, {c for cs in roles.values() for c in cs}))
    unwanted = [c for _, c in found.get("rejected", ()) if columns[c].text and columns[c].filled >= 0.5]
    if unwanted and "answer" in roles:
        roles["rejected"] = (unwanted[0],)
    return roles


def _meanings(name: str) -> tuple[tuple[str, int], ...]:
    """What a heading means, a damaged one included (instrucAon)."""
    if found := meanings(name):
        return found
    right = misspelt(name)
    return () if right is None or right[1] in ("messages", "history") else ((right[1], 3),)


def _people_last(found: Mapping[str, list[tuple[float, int]]], columns: Sequence[Column]) -> None:
    """用户 beside 评价 names a person: a column of short texts that ask nothing gives way to another one."""
    both = all(any(worth == 2 for worth, _ in found.get(role, ())) for role in ("question", "answer"))
    for role in ("question", "answer"):
        entries = found.get(role, [])
        longest = max((columns[c].length for _, c in entries), default=0)
        for i, (worth, column) in enumerate(entries):
            looks = columns[column]
            short = looks.length < 12 and looks.asks < 0.2 and len(entries) > 1
            if worth == 2 and short and (not both or looks.length < longest / 1.3):
                entries[i] = (0.5, column)


def _reviews_first(names: Cells, found: dict[str, list[tuple[float, int]]]) -> None:
    """商家回复 replies to 评价内容, not to the product's name beside it."""
    if any(_REPLY.search(normal(names[c])) for _, c in found.get("answer", ())):
        found["question"] = [
            (worth + 0.5 if worth == 1 and _REVIEW.search(normal(names[c])) else worth, c)
            for worth, c in found.get("question", ())
        ]
    if not found.get("question"):
        found.pop("question", None)


def _worth(strength: int, column: Column, role: str) -> float:
    """A name's strength, less where the content speaks against it. An empty column is worth little."""
    if not column.filled:
        return strength - 2.5
    if role in ("question", "answer") and strength <= 2 and column.numbers > 0.6:
        return strength - 2.0
    if role in ("question", "answer") and strength == 2 and column.length < 5 and column.distinct > 0.3:
        return 0.5  # 客户 over a column of people's names
    if role == "question" and strength == 1 and 0 < column.distinct < 0.3:
        return 0.8  # the same product's name in most rows asks less than the texts beside it
    return float(strength)


def _is_chat_log(found: Mapping[str, list[tuple[float, int]]]) -> bool:
    if "speaker" not in found or not any(c != found["speaker"][0][1] for _, c in found.get("message", ())):
        return False
    strongest = {role: found[role][0][0] if role in found else 0.0 for role in ("question", "answer")}
    return min(strongest.values()) < 2


def _question_side(found: Mapping[str, list[tuple[float, int]]]) -> dict[str, tuple[int, ...]]:
    asks = [column for worth, column in found.get("question", ()) if worth > 0]
    inputs = [column for _, column in found.get("input", ())]
    context = [column for _, column in found.get("context", ())]
    if "instruction" in found:
        question = found["instruction"][0][1]
        rest = inputs or [column for column in asks if column != question][:1]
        return {"question": (question,), **_context([*rest, *context], question)}
    if asks:
        question = asks[0]
        both = [column for column in inputs if column not in asks]
        return {"question": (question,), **_context([*both, *context], question)}
    if inputs:
        return {"question": (inputs[0],), **_context(context, inputs[0])}
    return {}


def _context(columns: Sequence[int], question: int) -> dict[str, tuple[int, ...]]:
    kept = tuple(dict.fromkeys(column for column in columns if column != question))
    return {"context": kept} if kept else {}


def _answer_side(
    names: Cells, columns: Sequence[Column], found: Mapping[str, list[tuple[float, int]]], taken: set[int]
) -> dict[str, tuple[int, ...]]:
    answers = [(worth, column) for worth, column in found.get("answer", ()) if column not in taken and worth > 0]
    if answers:
        best = answers[0][1]
        family = [c for _, c in answers if stem(names[c]) == stem(names[best]) and columns[c].filled]
        asked = [stem(names[c]) for _, c in found.get("question", ())]
        if len(asked) != len(set(asked)):  # 问 答 问 答 side by side
            family = [best]
        return {"answer": tuple(sorted(family)) if best in family else (best,)}
    labels = [column for _, column in found.get("label", ()) if column not in taken]
    if labels:
        labels.sort(key=lambda c: (stem(names[c]) not in _LABELS_FIRST, c))
        plain = stem(names[labels[0]]) in _LABELS_FIRST
        return {"answer": (labels[0],)} if plain or not _other_texts(names, columns, taken) else {}
    return {}


def _other_texts(names: Cells, columns: Sequence[Column], taken: set[int]) -> bool:
    """Whether some column of unknown name holds long texts: more likely the answer than 分类 or category."""
    return any(
        c not in taken and column.text and column.filled >= 0.5 and column.length >= 12 and not meanings(names[c])
        for c, column in enumerate(columns)
    )


# ── roles by content ──────────────────────────────────────────────────────────────────────────────


def _by_content(
    names: Cells, columns: Sequence[Column], roles: Mapping[str, tuple[int, ...]], taken: set[int]
) -> tuple[dict[str, tuple[int, ...]], bool, bool]:
    """Fill in the side that no name gives. Returns roles, whether it was guessed, whether answers are fields."""
    settled = dict(roles)
    used = {column for found in settled.values() for column in found} | taken
    free = [c for c, column in enumerate(columns) if c not in used and column.text and column.filled >= 0.2]
    free = [c for c in free if not any(role in ("nothing", "time") for role, _ in meanings(names[c]))] or free
    if "question" in settled and free:
        free = [c for c in free if not any(role == "label" for role, _ in meanings(names[c]))] or free
        lengths = sorted(columns[c].length for c in free)
        alike = len(free) > 1 and lengths[-1] <= min(20, 3 * lengths[-2] + 4)
        if alike and all(names[c] for c in free):
            if _PARCEL.search(normal(names[settled["question"][0]])):
                named = [c for c, name in enumerate(names) if normal(name) in _RECEIVER and columns[c].filled >= 0.2]
                free = sorted({*free, *named} - used)
            return {**settled, "answer": tuple(free)}, True, True
        return {**settled, "answer": (max(free, key=lambda c: columns[c].length),)}, True, False
    if "answer" in settled and free:
        return {**settled, "question": (_asking(free, columns),)}, True, False
    if len(free) < 2:
        return settled, False, False
    question, answer = _two_sides(free, columns)
    return {**settled, "question": (question,), "answer": (answer,)}, True, False


def _asking(free: Sequence[int], columns: Sequence[Column]) -> int:
    """The column that asks most, or the one whose cells are longest and differ most."""
    if max(columns[c].asks for c in free) >= 0.3:
        return max(free, key=lambda c: columns[c].asks)
    return max(free, key=lambda c: columns[c].distinct * columns[c].length * columns[c].filled)


def _two_sides(free: Sequence[int], columns: Sequence[Column]) -> tuple[int, int]:
    asking = [c for c in free if columns[c].asks >= 0.3]
    if asking:
        question = max(asking, key=lambda c: columns[c].asks)
        rest = [c for c in free if c != question]
        return question, max(rest, key=lambda c: columns[c].length * columns[c].filled)
    texts = sorted(free, key=lambda c: -columns[c].length * columns[c].filled * max(columns[c].distinct, 0.05))[:2]
    left, right = sorted(texts)
    repeated = columns[left].distinct < 0.3 and columns[right].distinct > 0.6
    return (right, left) if repeated else (left, right)
