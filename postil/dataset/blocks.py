"""Text with marked speakers (问：/答：, Q:/A:, 指令/响应, 用户/客服, chat exports) becomes dialogues."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from postil.dataset.drafts import Draft, Ledger, Turn
from postil.dataset.raw import Line
from postil.dataset.speakers import cast, role_of
from postil.dataset.words import listed, words
from postil.errors import DataError
from postil.records import Role

_DAY = r"(?:\d{2,4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?)?"
_HALF = "(?:凌晨|早上|上午|中午|下午|傍晚|晚上|[AaPp][Mm])"
_CLOCK = rf"(?:{_HALF}[ \t]?)?\d{{1,2}}:\d{{2}}(?::\d{{2}})?(?:[ \t]?[AaPp][Mm])?"
_STAMP = rf"(?:[\[(（【]?{_DAY}[ T]?(?:{_CLOCK})?[\])）】]?[ \t]{{1,4}})?"
_ORDINAL = r"(?:[(（]?\d{1,5}[ \t]?[、.．)）:：][ \t]{0,4})?"
_WHO = "(?P<who>" + "|".join(word for words_ in words()["markers"].values() for word in words_.split()) + ")"
_NUMBER = r"[ \t]{0,2}(?P<number>\d{0,5})"
_MARKED = re.compile(
    rf"[ \t>*#\-•·]{{0,8}}{_STAMP}{_ORDINAL}[【\[（(<《*]{{0,2}}{_WHO}{_NUMBER}"
    r"[】\])）>》*]{0,2}[ \t]{0,2}[：:][ \t*]{0,4}(?P<text>.*)",
    re.I | re.S,
)  # 3、问：text; **Q:** text; 指令 1:“text”
_BARE = re.compile(rf"[ \t]{{0,4}}[【\[#<]{{1,4}}[ \t]{{0,2}}{_WHO}{_NUMBER}[】\]>:]{{0,2}}[ \t]{{0,4}}", re.I)
_NAMED = re.compile(
    rf"(?P<who>[^\s:：\d][^\n:：]{{0,29}}?(?:[:：](?!\d{{2,4}}[-/.年])[^\s:：]{{1,20}}?)?)"
    rf"(?<!时间)(?<!日期)[ \t]{{1,4}}[(（\[]?{_DAY}[ \t]{{0,2}}{_CLOCK}[)）\]]?[ \t]{{0,4}}[:：]?[ \t]{{0,4}}"
)  # 小王 2026-03-01 10:02:33, the message on the next lines
_STAMPED = re.compile(
    rf"(?:[\[(（【]{_DAY},?[ T]{{0,2}}{_CLOCK}[\])）】][ \t,，]{{0,4}}"
    rf"|{_DAY},?[ T]{{0,2}}{_CLOCK}[ \t,，]{{1,4}}(?:-[ ])?)"
    r"(?P<who>[^\n:：]{1,30})[:：][ \t]{0,4}(?P<text>.*)"
)  # 2026-03-01 10:02 小王：message
_STAMP_INSIDE = re.compile(
    r"(?P<who>[^\s:：(（\[][^\n(（\[]{0,39}?)[ \t]{0,4}"
    rf"[(（\[]{_DAY}[ T\t]{{0,2}}{_CLOCK}[)）\]][ \t]{{0,4}}[:：][ \t]{{0,4}}(?P<text>.*)"
)  # shop:Mei(2026-03-01 10:02:33): message
_TIME_FIRST = re.compile(
    rf"[\[(（【]?{_DAY}[ T]{{0,2}}{_CLOCK}[\])）】]?[ \t,，]{{1,4}}"
    r"(?P<who>[^\s。！？!?，,][^\n。！？!?，,]{0,39}?)[:：]?"
)  # 2026-03-01 10:02:33 shop:Mei, the message on the next lines
_HEADING = re.compile(
    r"[ \t]{0,4}(?:【[^】]{1,60}】|《[^》]{1,60}》.{0,30}|#{1,6}[ \t].{1,80}|[一二三四五六七八九十]{1,3}、.{1,40}"
    r"|第.{1,4}[章节部分篇].{0,40}|[-=—_*~]{3,200}.{0,60})[ \t]{0,4}"
)
_LISTED = re.compile(r"[(（]?\d{1,4}[ \t]?[、.．)）][ \t]{0,4}")
_ANYONE = re.compile(r"(?P<who>[^\s:：，,。！？?!]{1,12})[:：][ \t]{0,4}(?P<text>.{1,4000})", re.S)
_TECHNICAL = listed("technical")  # markers that also stand inside answers
_PAIRWISE = listed("pairwise")  # markers of lists of pairs, not of chats
LONG_CHAT = 20  # messages of a chat without a blank line: more are hardly one dialogue
MANY = 3  # pairs in a file without a single separator: if there are more, each pair stands alone


@dataclass(slots=True)
class _Mark:
    """A line that begins a message. `who`: the marker or the name; `number`: 指令 2 has 2."""

    index: int
    role: Role
    who: str
    text: str
    number: int | None = None


@dataclass(slots=True)
class _Said:
    """A message with its lines. `ends`: a blank line or a heading stands after it."""

    mark: _Mark
    turn: Turn
    ends: bool


def read_lines(lines: Sequence[Line], ledger: Ledger) -> tuple[list[Draft], str]:
    """Dialogues of a text file, and the shape's name. Raises DataError if nobody is marked as speaking in it.

    A blank line or a heading ends a dialogue; several pairs without one between them are one dialogue of many turns.
    Lines of which the ledger knows already are left out: who speaks is told as if they were there.
    """
    marks, chat = _all_marks(lines, ledger)
    if not marks:
        raise DataError("no_dialogue_found", rows=[line.number for line in lines[:3]])
    for at in range(marks[0].index):
        _skip(at, lines, ledger)
    ends = [mark.index for mark in marks[1:]] + [len(lines)]
    every = [_message(mark, end, lines, ledger) for mark, end in zip(marks, ends, strict=True)]
    said = [message for message in every if message.turn.at]
    apart = not chat and _never_separated(every)
    if apart:
        ledger.issue("pairs_not_separated", "advice", marks[0].index)
    drafts: list[Draft] = []
    before: _Said | None = None
    guest = ""
    for message in said:
        other = chat and message.turn.role == "user" and guest not in ("", message.mark.who)
        if before is None or other or _begins(message, before, apart):
            drafts.append(Draft([], ()))
            guest = ""
        guest = message.mark.who if message.turn.role == "user" else guest
        drafts[-1].turns.append(message.turn)
        drafts[-1].at += message.turn.at
        before = message
    if chat and len(drafts) == 1 and len(every) > LONG_CHAT:
        ledger.issue("chats_not_separated", "warning", marks[0].index, count=len(every))
    return drafts, "chat" if chat else "blocks"


def are_marked(texts: Sequence[str]) -> bool:
    """Whether at least half of these texts begin with a speaker, and both sides speak, each in a text of its own.

    Texts that ask and answer by turns need no marks.
    """
    lines = [Line(i, text) for i, text in enumerate(texts)]
    marks = _plain_marks(lines) or _by_turns(lines)
    alone = not any(len(turns_in(text)) > 1 for text in texts[:60])
    return alone and len(marks) >= 4 and 2 * len(marks) >= len(texts)


def turns_in(text: str) -> list[tuple[Role, str]]:
    """The messages of a chat that stands whole in one cell; empty if fewer than two sides are marked in it."""
    if len(text) < 6 or (":" not in text and "：" not in text):
        return []
    lines = [Line(i, line) for i, line in enumerate(text.splitlines())]
    ledger = Ledger(range(len(lines)))
    stamped = [(i, found) for i, line in enumerate(lines) if (found := _STAMPED.fullmatch(line.text.strip()[:20000]))]
    marks = _by_name([(i, m["who"], m["text"]) for i, m in stamped], lines, ledger) if len(stamped) > 1 else []
    marks = marks or _plain_marks(lines)
    if not marks or marks[0].index or not {"user", "assistant"} <= {mark.role for mark in marks}:
        return []
    ends = [mark.index for mark in marks[1:]] + [len(lines)]
    said = [_message(mark, end, lines, ledger).turn for mark, end in zip(marks, ends, strict=True)]
    return [(turn.role, turn.content) for turn in said]


def _skip(at: int, lines: Sequence[Line], ledger: Ledger) -> None:
    ledger.skip(at, "heading_line" if lines[at].text.strip() else "blank_row")


def _never_separated(said: Sequence[_Said]) -> bool:
    """A long list of 问/答 without one blank line: a list of pairs, not one endless dialogue."""
    questions = sum(message.turn.role == "user" for message in said)
    pairwise = all(message.mark.who.casefold() in _PAIRWISE for message in said)
    return pairwise and questions > MANY and not any(message.ends for message in said[:-1])


def _begins(now: _Said, before: _Said, apart: bool) -> bool:
    """Whether this message begins another dialogue."""
    if now.turn.role == "assistant" and before.turn.role == "user":
        return False  # an answer below a blank line still answers
    if now.turn.role == "system" and before.turn.role != "system":
        return True
    restarted = now.turn.role == "user" and now.mark.number == 1
    return before.ends or restarted or (apart and now.turn.role == "user")


def _message(mark: _Mark, end: int, lines: Sequence[Line], ledger: Ledger) -> _Said:
    """The message that begins at `mark`; lines up to `end` belong to it, unless they are blank or headings."""
    parts, at = ([], []) if ledger.known(mark.index) else ([mark.text], [mark.index])
    blanks, ends = 0, False
    for i in range(mark.index + 1, end):
        text = lines[i].text
        if ledger.known(i):
            continue
        if not text.strip():
            blanks += 1
            ledger.skip(i, "blank_row")
        elif ends or _is_heading(i, end, lines, blanks > 0):
            ledger.skip(i, "heading_line")
            ends = True
        else:
            parts += [""] * blanks + [text.strip(" \t\u3000")]
            at.append(i)
            blanks = 0
    content = "\n".join(parts).strip("\n")
    return _Said(mark, Turn(mark.role, content, tuple(at)), ends or blanks > 0)


def _is_heading(i: int, end: int, lines: Sequence[Line], after_blank: bool) -> bool:
    """A heading between two messages: by its marks, or short and directly above the next message."""
    text = lines[i].text.strip()
    if _HEADING.fullmatch(text[:400]):
        return True
    last = end < len(lines) and all(not lines[j].text.strip() for j in range(i + 1, min(end, i + 50)))
    if not last or len(text) > 40:
        return False
    return text.endswith((":", "：")) or (after_blank and text[-1] not in "。！？.!?；;…")


# ── who speaks where ──────────────────────────────────────────────────────────────────────────────


def _all_marks(lines: Sequence[Line], ledger: Ledger) -> tuple[list[_Mark], bool]:
    """The lines that begin a message, and whether the file is a chat export (speakers by name)."""
    marks = _plain_marks(lines)
    stamped = [(i, found) for i, line in enumerate(lines) if (found := _STAMPED.fullmatch(line.text.strip()[:20000]))]
    if heads := _time_first(lines, {i for i, _ in stamped}):
        return _by_name([(i, who, "") for i, who in heads], lines, ledger), True
    if len(stamped) >= 2 and len(stamped) >= len(marks) / 2:
        return _by_name([(i, m["who"], m["text"]) for i, m in stamped], lines, ledger), True
    inside = [(i, m) for i, line in enumerate(lines) if (m := _STAMP_INSIDE.fullmatch(line.text.strip()[:20000]))]
    if len(inside) >= 2 and len(inside) >= len(marks) / 2:
        return _by_name([(i, m["who"], m["text"]) for i, m in inside], lines, ledger), True
    if marks:
        return marks, False
    named = [(i, found) for i, line in enumerate(lines) if (found := _NAMED.fullmatch(line.text.strip()[:200]))]
    if len(named) >= 2:
        return _by_name([(i, m["who"], "") for i, m in named], lines, ledger), True
    anyone = [(i, found) for i, line in enumerate(lines) if (found := _ANYONE.fullmatch(line.text.strip()[:4000]))]
    filled = sum(bool(line.text.strip()) for line in lines)
    names = {m["who"] for _, m in anyone}
    if asked := _paragraphs(lines):
        ledger.issue("first_lines_asked", "advice", asked[0].index)
        return asked, False
    if asked := _by_turns(lines):
        ledger.issue("lines_by_turns", "warning", asked[0].index)
        return asked, False
    if len(anyone) >= 4 and 2 <= len(names) <= max(6, len(anyone) // 4) and len(anyone) >= 0.8 * filled:
        return _by_name([(i, m["who"], m["text"]) for i, m in anyone], lines, ledger), True
    return [], False


def _time_first(lines: Sequence[Line], spoken: set[int]) -> list[tuple[int, str]]:
    """(line, name) of lines that hold a time and a name and nothing else, if the messages stand below them.

    `spoken`: the lines that could be time, name, colon and message; here the colon stands in names (shop:Mei).
    """
    heads = [(i, m["who"]) for i, line in enumerate(lines) if (m := _TIME_FIRST.fullmatch(line.text.strip()[:200]))]
    places = {i for i, _ in heads}
    below = sum(i + 1 < len(lines) and bool(lines[i + 1].text.strip()) and i + 1 not in places for i in places)
    bare = sum(i not in spoken for i in places)
    return heads if len(heads) >= 2 and 3 * bare >= len(heads) and below >= 0.8 * len(heads) else []


def _paragraphs(lines: Sequence[Line]) -> list[_Mark]:
    """Paragraphs whose first line asks (1. 怎么退货？) and whose other lines answer, if nearly all are such."""
    marks: list[_Mark] = []
    begins, fit = 0, 0
    for i, line in enumerate(lines):
        text = line.text.strip()
        if not text or (i and lines[i - 1].text.strip()):
            continue
        begins += 1
        answer = lines[i + 1].text.strip() if i + 1 < len(lines) else ""
        if text[-1] in "?？" and len(text) <= 200 and answer:
            fit += 1
            asked = _LISTED.sub("", text, count=1)
            marks += [_Mark(i, "user", "?", asked), _Mark(i + 1, "assistant", "?", answer)]
    return marks if fit >= 3 and fit >= 0.8 * begins else []


def _by_turns(lines: Sequence[Line]) -> list[_Mark]:
    """Question, answer, question, answer without any mark, if nearly each second text asks. Titles may stand above."""
    filled = [(i, line.text.strip()) for i, line in enumerate(lines) if line.text.strip()]
    for titles in range(3):
        asked, answered = filled[titles::2], filled[titles + 1 :: 2]
        if len(asked) < 3 or len(asked) != len(answered) or sum(map(_asks, asked)) < 0.9 * len(asked):
            continue
        if sum(map(_asks, answered)) <= 0.1 * len(answered) and len(filled[0][1]) <= 200:
            return [_Mark(i, *("user", "q") if n % 2 == 0 else ("assistant", "a"), _unmarked(text))
                    for n, (i, text) in enumerate(filled[titles:])]  # fmt: skip
    return []


def _unmarked(text: str) -> str:
    """Without a mark that only one of the two sides has: 1、怎么退？ over 答：七天内退。"""
    found = _MARKED.fullmatch(text)
    return found["text"].strip() if found and found["who"].casefold() in _PAIRWISE else text


def _asks(line: tuple[int, str]) -> bool:
    return line[1].endswith(("?", "？", "吗", "呢", "么"))


def _plain_marks(lines: Sequence[Line]) -> list[_Mark]:
    marks = []
    for i, line in enumerate(lines):
        found = _MARKED.fullmatch(line.text) or _BARE.fullmatch(line.text[:80])
        if found is None:
            continue
        role = role_of(found["who"])
        if role is not None:
            number = int(found["number"]) if found["number"] else None
            text = found.groupdict().get("text") or ""
            marks.append(_Mark(i, role, found["who"], text.strip(" \t\u3000"), number))
    technical = [mark for mark in marks if mark.who.casefold() in _TECHNICAL]
    if 2 * len(technical) < len(marks):  # 输入：220V inside an answer
        marks = [mark for mark in marks if mark.who.casefold() not in _TECHNICAL]
    return marks if any(m.role == "user" for m in marks) and any(m.role == "assistant" for m in marks) else []


def _by_name(found: Sequence[tuple[int, str, str]], lines: Sequence[Line], ledger: Ledger) -> list[_Mark]:
    roles, guessed = cast(who for _, who, _ in found)
    if guessed:
        said = ", ".join(f"{name} = {role}" for name, role in list(roles.items())[:6])
        ledger.issue("speakers_guessed", "warning", found[0][0], None, speakers=said)
    marks = [_Mark(i, roles[who.strip()], who.strip(), text.strip(" \t\u3000")) for i, who, text in found]
    return [mark for mark in marks if mark.role in ("user", "assistant", "system")]
