"""JSON as people really have it: correct text goes through `json` untouched, damaged text is repaired and listed.

The scanner reads each character a bounded number of times: a string that never closes ends where the next record
begins.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from postil.dataset.limits import MAX_CELL, MAX_DEPTH, MAX_ROWS
from postil.dataset.raw import Findings, Record
from postil.errors import FileError

_OPEN_OBJECT, _CLOSE_OBJECT = "{｛", "}｝"
_OPEN_LIST, _CLOSE_LIST = "[［", "]］"
_COMMA, _COLON = ",，", ":："
_DOUBLE, _SINGLE = '"“”„＂', "'‘’"
_FULL_WIDTH = "｛｝［］，："
_QUOTE = re.escape(_DOUBLE + _SINGLE)

_SPACE = re.compile(r"[\s\u3000\ufeff\u200b]*")
_COMMENT = re.compile(r"//[^\n]*|#[^\n]*|/\*.{0,10000}?\*/", re.S)
_RECORD = re.compile(rf"[ \t\u3000]*[{{｛\[［][ \t]*[{_QUOTE}{{｛\[［]")  # what the first line of a record looks like
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_WORD = re.compile(r"[A-Za-z_\u4e00-\u9fff][\w\-]{0,63}")
_LITERALS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None,
             "NaN": None, "Infinity": None, "undefined": None}  # fmt: skip
_CORRECT_LITERALS = ("true", "false", "null")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.S)
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "'": "'"}
_SURROGATE = re.compile("[\ud800-\udfff]")

# What may stand after the mark that closes a string. One that is followed by anything else belongs to the text.
_KEY_NEXT = rf"(?:[{_QUOTE}][^{_QUOTE}\n]{{1,64}}[{_QUOTE}]|[A-Za-z_]\w{{0,63}})\s*[:：]"
_AFTER_KEY = re.compile(r"\s{0,200}[:：]")
_AFTER_MEMBER = re.compile(
    rf"\s{{0,200}}(?:\Z|[,，]\s{{0,200}}(?:{_KEY_NEXT}|[}}｝]|\Z)"
    rf"|[}}｝]\s{{0,200}}(?:\Z|[,，\]］}}｝{{｛])|[}}｝][ \t]*\n|\n)"
)
_AFTER_ELEMENT = re.compile(rf"\s{{0,200}}(?:\Z|[,，]\s{{0,200}}[{_QUOTE}{{｛\[［\]］\d\-]|[\]］])")
_MARKS = {mark: re.compile(rf'[\\\n"{re.escape(marks)}]') for marks in (_DOUBLE, _SINGLE) for mark in marks}
_PLAIN = re.compile(r'[\\\n"]')


class Unreadable(Exception):
    """This text is no JSON, and no repair is clear. `at` is the place where reading stopped."""

    def __init__(self, at: int, code: str = "bad_json") -> None:
        super().__init__(code)
        self.at = at
        self.code = code


def looks_like_json(text: str) -> bool:
    """Whether the text begins as JSON does, or most of its first lines do."""
    start = re.compile(rf"\s*[{{｛\[［]\s*(?:[{_QUOTE}{{｛\[［}}\]]|[A-Za-z_]\w{{0,63}}\s*[:：]|-?\d+\s*[,\]]|//|#)")
    body = text[:100_000].lstrip("\ufeff \t\r\n\u3000,，")
    while comment := re.match(r"(?://|#)[^\n]*\n\s*", body):
        body = body[comment.end() :]
    if start.match(body):
        return True
    lines = [line for line in body.splitlines()[:50] if line.strip()]
    return sum(1 for line in lines if start.match(line)) * 2 > len(lines)


def read_json(text: str, found: Findings) -> tuple[str, list[Record]]:
    """The format ("json" for one array or object, "jsonl" for records one after the other) and the records.

    What cannot be read goes to `found.left` with its line (its element, in an array), each repair to `found.repaired`.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        whole, notes = _load(text)
    except Unreadable:
        return _Stream(text, found).read()
    if isinstance(whole, dict) and (inner := _wrapped(whole)):
        found.repair("wrapper_opened", 1, f'{{"{inner}": [...]}}', "[...]", key=inner)
        whole = whole[inner]
    if not isinstance(whole, list) or _is_dialogue(whole):
        records = [Record(1 + text[: len(text) - len(text.lstrip())].count("\n"), whole)]
        _report(notes, records[0], text, found)
        return ("jsonl" if "\n" not in text.strip() else "json"), records
    if len(whole) > MAX_ROWS:
        raise FileError("too_many_rows", most=MAX_ROWS)
    return "json", _elements(whole, notes, text, found)


def _elements(whole: list[Any], notes: _Notes, text: str, found: Findings) -> list[Record]:
    one_line = "\n" not in text.strip() and len(whole) == 1
    records = [Record(number, value) for number, value in enumerate(whole, 1)]
    if one_line:
        found.repair("list_opened", 1, text.strip(), _shown(whole[0]))
    if notes:
        _report(notes, Record(1, whole), text, found)
    return records


class _Notes:
    """What `json` accepts and we do not pass over in silence."""

    def __init__(self) -> None:
        self.twice: list[str] = []
        self.not_a_number = False
        self.surrogate = False

    def __bool__(self) -> bool:
        return bool(self.twice) or self.not_a_number or self.surrogate

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            seen: set[str] = set()
            self.twice += [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
        return made

    def constant(self, _name: str) -> None:
        self.not_a_number = True


def _load(text: str) -> tuple[Any, _Notes]:
    """Correct JSON, by the standard library. Raises Unreadable for all else, and for what is too deep or too long."""
    notes = _Notes()
    try:
        value = json.loads(text, object_pairs_hook=notes.pairs, parse_constant=notes.constant)
    except RecursionError:
        raise Unreadable(0, "json_too_deep") from None
    except ValueError:  # JSONDecodeError, and a number of more than 4300 digits
        raise Unreadable(0) from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise Unreadable(0, "json_too_deep")
    if "\\ud" in text or "\\uD" in text:
        value = _without_surrogates(value, notes)
    return value, notes


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        inner = [
            list(each.values()) if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)
        ]
        level = [each for group in inner for each in group]
    return depth


def _without_surrogates(value: Any, notes: _Notes) -> Any:
    if isinstance(value, str):
        whole = _SURROGATE.sub("\ufffd", value)
        notes.surrogate |= whole != value
        return whole
    if isinstance(value, list):
        return [_without_surrogates(each, notes) for each in value]
    if isinstance(value, dict):
        return {_without_surrogates(k, notes): _without_surrogates(v, notes) for k, v in value.items()}
    return value


def _report(notes: _Notes, record: Record, before: str, found: Findings) -> None:
    for key in dict.fromkeys(notes.twice):
        found.issue("duplicate_key", "warning", record.row, key=key)
    if notes.not_a_number:
        found.repair("json_nan", record.row, before.strip(), _shown(record.value))
    if notes.surrogate:
        found.repair("lone_surrogate", record.row, before.strip(), _shown(record.value))


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _is_dialogue(items: list[Any]) -> bool:
    """A list of messages, rather than a list of records."""
    return bool(items) and all(isinstance(each, dict) and {"role", "from", "speaker"} & each.keys() for each in items)


def _wrapped(whole: dict[str, Any]) -> str | None:
    """The key of the one list of records inside an object, or None if the object is itself a record."""
    lists = [key for key, value in whole.items() if isinstance(value, list | dict)]
    if len(lists) != 1 or not isinstance(items := whole[lists[0]], list):
        return None
    turns = {"messages", "conversation", "conversations", "history", "dialogue", "dialog", "turns", "tools"}
    if lists[0].strip().lower() in turns or not items or _is_dialogue(items):
        return None
    return lists[0] if all(isinstance(each, dict) for each in items) else None


class _Stream:
    """Records one after the other, or the elements of a damaged array."""

    def __init__(self, text: str, found: Findings) -> None:
        self.text = text
        self.found = found
        self.records: list[Record] = []
        self.at = 0
        self.line = 1  # the line on which `at` stands
        self.counted = 0  # the place up to which lines are counted
        self.array = False
        self.element = 0
        self.fresh = True  # no other record began on this line

    def read(self) -> tuple[str, list[Record]]:
        self._open_array()
        while self._to_next():
            if len(self.records) > MAX_ROWS:
                raise FileError("too_many_rows", most=MAX_ROWS)
            self.element += 1
            self._one()
        return ("json" if self.array else "jsonl"), self.records

    def _open_array(self) -> None:
        """A text that is one damaged array: its first line opens a list and does not close it."""
        at = _end(_SPACE, self.text, 0)
        if self.text[at : at + 1] not in _OPEN_LIST or at >= len(self.text):
            return
        end = self.text.find("\n", at)
        first = self.text[at : len(self.text) if end < 0 else end].strip()
        if len(first) > 1 and end >= 0 and first[-1] in _CLOSE_LIST:
            return
        if end < 0 and first[-1] in _CLOSE_LIST and _is_record_list(first) is False:
            return
        self.array, self.at = True, at + 1

    def _row(self) -> int:
        if self.array:
            return self.element
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line

    def _to_next(self) -> bool:
        """Go to where the next record begins, over blank lines, commas and comments. False: there is none."""
        while self.at < len(self.text):
            start = self.at
            self.at = _end(_SPACE, self.text, self.at)
            self.fresh |= "\n" in self.text[start : self.at]
            if comment := _COMMENT.match(self.text, self.at):
                self.found.repair("json_comment", None if self.array else self._row(), comment[0], "")
                self.at = comment.end()
            elif self.text[self.at : self.at + 1] in (
                [*_COMMA, *_CLOSE_LIST] if self.array else _COMMA
            ) and self.at < len(self.text):
                self.at += 1
            else:
                break
        return self.at < len(self.text)

    def _one(self) -> None:
        row, start, fresh = self._row(), self.at, self.fresh
        if not self.array and fresh and self._correct_line(row):
            return
        scanner = _Scanner(self.text, start)
        try:
            value = scanner.record()
        except Unreadable as problem:
            self._skip(row, start, problem)
            return
        self.at = scanner.at
        self.fresh = False
        if not fresh and not self.array:
            scanner.codes["json_split"] = True
        self._keep(row, value, self.text[start : self.at], scanner)

    def _correct_line(self, row: int) -> bool:
        """The usual case: the whole line is one correct record."""
        end = self.text.find("\n", self.at)
        line = self.text[self.at : len(self.text) if end < 0 else end]
        try:
            value, notes = _load(line)
        except Unreadable:
            return False
        self.at += len(line)
        if isinstance(value, list) and _opens(value):
            self.found.repair("list_opened", row, line, ", ".join(_shown(each) for each in value))
            self.records += [Record(row, each) for each in value]
        else:
            self.records.append(Record(row, value))
        if notes:
            _report(notes, Record(row, value), line, self.found)
        return True

    def _keep(self, row: int, value: Any, before: str, scanner: _Scanner) -> None:
        before = before.strip()
        if "\n" in before and not self.array:
            scanner.codes["json_joined"] = True
        if isinstance(value, list) and _opens(value):
            self.found.repair("list_opened", row, before, ", ".join(_shown(each) for each in value))
            self.records += [Record(row, each) for each in value]
        else:
            self.records.append(Record(row, value))
        for code in scanner.codes:
            self.found.repair(code, row, before, _shown(value))
        for key in scanner.twice:
            self.found.issue("duplicate_key", "warning", row, key=key)

    def _skip(self, row: int, start: int, problem: Unreadable) -> None:
        """Leave what cannot be read: to the end of its line, or to the next element of an array."""
        text = self.text
        if self.array:
            following = re.compile(r"[,，]?[ \t]*\n\s*(?=[{｛])|[}｝]\s*[,，]\s*(?=[{｛])").search(text, problem.at)
            self.at = following.end() if following else len(text)
            if not following and not text[start:].strip(" \t\n]］,，"):
                return
        else:
            end = text.find("\n", start)
            self.at = len(text) if end < 0 else end
        self.found.leave(row, problem.code, text=_glimpse(text[start : min(self.at, start + 200)]))
        self.found.issue(problem.code, "error", row, text=_glimpse(text[start : min(self.at, start + 200)]))


def _is_record_list(line: str) -> bool:
    try:
        value, _ = _load(line)
    except Unreadable:
        return True
    return isinstance(value, list)


def _opens(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(each, dict) for each in items) and not _is_dialogue(items)


def _glimpse(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:59] + "…"


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    matched = pattern.match(text, at)
    return matched.end() if matched else at


class _Scanner:
    """Reads one value that begins at `at`, with repairs. `codes` keeps which were needed."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at
        self.start = at
        self.codes: dict[str, bool] = {}
        self.twice: list[str] = []
        self.ended = False  # the record broke off; all that is open closes here

    def record(self) -> Any:
        if self._peek() not in _OPEN_OBJECT + _OPEN_LIST or not self._peek():
            self._fail()
        return self._value(0, _AFTER_MEMBER)

    def _value(self, depth: int, after: re.Pattern[str]) -> Any:
        if depth > MAX_DEPTH:
            raise Unreadable(self.at, "json_too_deep")
        sign = self._peek()
        if not sign:
            self._fail()
        if sign in _OPEN_OBJECT:
            return self._object(depth)
        if sign in _OPEN_LIST:
            return self._list(depth)
        if sign in _DOUBLE + _SINGLE:
            return self._string(after)
        return self._atom()

    def _object(self, depth: int) -> dict[str, Any]:
        self._take()
        made: dict[str, Any] = {}
        while not self._closes(_CLOSE_OBJECT, made):
            key = self._key()
            self._space()
            if self._peek() not in _COLON or not self._peek():
                self._fail()
            self._take()
            self._space()
            if key in made:
                self.twice.append(key)
            made[key] = self._value(depth + 1, _AFTER_MEMBER)
        return made

    def _list(self, depth: int) -> list[Any]:
        self._take()
        made: list[Any] = []
        while not self._closes(_CLOSE_LIST, made):
            made.append(self._value(depth + 1, _AFTER_ELEMENT))
        return made

    def _closes(self, closers: str, made: Any) -> bool:
        """Step over a comma to the next member; True at the closing bracket, which is stepped over too."""
        if self.ended:
            return True
        self._space()
        comma = bool(made) and self._peek() != "" and self._peek() in _COMMA
        if comma:
            self._take()
            self._space()
        if self._broke_off(bool(made)):
            self.codes["json_brace_added"] = self.ended = True
            return True
        if self._peek() in closers:
            self._take()
            if comma:
                self.codes["json_trailing_comma"] = True
            return True
        if made and not comma:
            self._missing_comma(closers)
        return False

    def _broke_off(self, has_content: bool) -> bool:
        """The text is over, or the next record begins on a new line although this one is not closed."""
        if not self._peek():
            if not has_content:
                self._fail()
            return True
        line_start = self.text.rfind("\n", self.start, self.at) + 1
        starts_line = line_start > self.start and not self.text[line_start : self.at].strip()
        return has_content and starts_line and self.at == line_start and self._peek() in _OPEN_OBJECT

    def _missing_comma(self, closers: str) -> None:
        begins = _OPEN_OBJECT + _OPEN_LIST if closers == _CLOSE_LIST else _DOUBLE
        if self._peek() not in begins:
            self._fail()
        self.codes["json_comma_added"] = True

    def _key(self) -> str:
        sign = self._peek()
        if sign in _DOUBLE + _SINGLE:
            return self._string(_AFTER_KEY)
        word = _WORD.match(self.text, self.at)
        if not word:
            self._fail()
        self.codes["json_bare_key"] = True
        self.at = word.end()
        return word[0]

    def _string(self, after: re.Pattern[str]) -> str:
        """A string up to the mark that closes it: one of the opening mark's kind, with a fitting sign behind it."""
        opening, begin = self.text[self.at], self.at + 1
        marks = _PLAIN if opening == '"' and after is not _AFTER_KEY else _MARKS[opening]
        end = self._string_end(begin, marks, after)
        if end < 0 and opening == '"':
            end = self._string_end(begin, _MARKS[opening], after)
        if end < 0:
            self._fail()
        raw, closing = self.text[begin:end], self.text[end]
        self.at = end + 1
        if len(raw) > MAX_CELL:
            raise Unreadable(self.at, "json_too_long")
        if opening in _SINGLE:
            self.codes["json_single_quotes"] = True
        elif opening != '"' or closing != '"':
            self.codes["json_quotes"] = True
        return self._decoded(raw)

    def _string_end(self, at: int, marks: re.Pattern[str], after: re.Pattern[str]) -> int:
        """Place of the closing mark, or -1. An inner mark is text if nothing fitting stands behind it."""
        inner = False
        kind = _SINGLE if marks is _MARKS["'"] or marks is _MARKS["‘"] else _DOUBLE
        while mark := marks.search(self.text, at):
            sign, at = mark[0], mark.end()
            if sign == "\\":
                at += 1
            elif sign == "\n":
                if _RECORD.match(self.text, at):
                    return -1
            elif sign in kind:
                if after.match(self.text, at):
                    if inner:
                        self.codes["json_inner_quotes"] = True
                    return mark.start()
                inner |= sign == '"'
        return -1

    def _decoded(self, raw: str) -> str:
        if "\n" in raw:
            self.codes["json_line_break"] = True
        elif re.search(r"[\x00-\x08\x0b-\x1f]", raw):
            self.codes["json_control"] = True
        if "\\" not in raw:
            return raw
        text = _ESCAPE.sub(self._unescape, raw)
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text

    def _unescape(self, escape: re.Match[str]) -> str:
        sign = escape[1]
        if len(sign) == 5:
            return chr(int(sign[1:], 16))
        if sign not in _ESCAPES:
            self.codes["json_escape"] = True
            return "\\" + sign
        return _ESCAPES[sign]

    def _atom(self) -> Any:
        if number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            if len(number[0]) > 4000:
                raise Unreadable(self.at, "json_too_long")
            return float(number[0]) if number[1] or number[2] else int(number[0])
        word = _WORD.match(self.text, self.at)
        if not word or word[0] not in _LITERALS:
            self._fail()
        self.at = word.end()
        if word[0] not in _CORRECT_LITERALS:
            self.codes["json_nan" if word[0] in ("NaN", "Infinity", "undefined") else "json_literal"] = True
        return _LITERALS[word[0]]

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self) -> None:
        if self.text[self.at] in _FULL_WIDTH:
            self.codes["json_punctuation"] = True
        self.at += 1

    def _space(self) -> None:
        self.at = _end(_SPACE, self.text, self.at)
        while comment := _COMMENT.match(self.text, self.at):
            self.codes["json_comment"] = True
            self.at = _end(_SPACE, self.text, comment.end())

    def _fail(self) -> NoReturn:
        raise Unreadable(self.at)
