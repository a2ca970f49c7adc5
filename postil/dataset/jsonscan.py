"""A scanner for damaged JSON: reads one value, makes the repairs that are clear, and says which.

It reads each character a bounded number of times: a string that never closes ends where the next record begins.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from postil.dataset.limits import MAX_DEPTH

OPEN_OBJECT, CLOSE_OBJECT = "{｛", "}｝"
OPEN_LIST, CLOSE_LIST = "[［", "]］"
COMMA, _COLON = ",，", ":："
_DOUBLE, _SINGLE = '"“”„＂', "'‘’"
_FULL_WIDTH = "｛｝［］，："
QUOTE = re.escape(_DOUBLE + _SINGLE)

SPACE = re.compile(r"[\s\u3000\ufeff\u200b]*")
COMMENT = re.compile(r"//[^\n]*|#[^\n]*|/\*.{0,1000}?\*/", re.S)
_RECORD = re.compile(rf"[ \t\u3000]*[{{｛\[［][ \t]*[{QUOTE}{{｛\[［]")  # what the first line of a record looks like
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_WORD = re.compile(r"[A-Za-z_\u4e00-\u9fff][\w\-]{0,63}")
_LITERALS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None,
             "NaN": None, "Infinity": None, "undefined": None}  # fmt: skip
_CORRECT_LITERALS = ("true", "false", "null")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.S)
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "'": "'"}

# What may stand after the mark that closes a string. One that is followed by anything else belongs to the text.
_QUOTED_KEY = rf"[{QUOTE}](?:[^{QUOTE}\\\n]|\\.){{0,200}}[{QUOTE}]\s{{0,200}}[:：]"
_KEY_NEXT = rf"(?:{_QUOTED_KEY}|[A-Za-z_]\w{{0,63}}\s{{0,200}}:|/[/*])"
_AFTER_KEY = re.compile(r"\s{0,200}[:：]")
_AFTER_MEMBER = re.compile(
    rf"\s{{0,200}}(?:\Z|[,，]\s{{0,200}}(?:{_KEY_NEXT}|[}}｝]|\Z)"
    rf"|[}}｝]\s{{0,200}}(?:\Z|[,，\]］}}｝{{｛])|[}}｝][ \t]*\n|\n)|\s{{1,200}}{_QUOTED_KEY}"
)
_ELEMENT_NEXT = rf"(?:[{QUOTE}{{｛\[［\]］\d\-]|(?:true|false|null|True|False|None|NaN)\b|/[/*]|\Z)"
_AFTER_ELEMENT = re.compile(rf"\s{{0,200}}(?:\Z|[,，]\s{{0,200}}{_ELEMENT_NEXT}|[\]］])")
_MARKS = {mark: re.compile(rf'[\\\n"{re.escape(marks)}]') for marks in (_DOUBLE, _SINGLE) for mark in marks}
_PLAIN = re.compile(r'[\\\n"]')


class Unreadable(Exception):
    """This text is no JSON, and no repair is clear. `at` is the place where reading stopped."""

    def __init__(self, at: int, code: str = "bad_json") -> None:
        super().__init__(code)
        self.at = at
        self.code = code


def end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    matched = pattern.match(text, at)
    return matched.end() if matched else at


class Scanner:
    """Reads one value that begins at `at`, with repairs. `codes` keeps which were needed."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at
        self.start = at
        self.codes: dict[str, bool] = {}
        self.twice: list[str] = []
        self.ended = False  # the record broke off; all that is open closes here

    def record(self) -> Any:
        if self._peek() not in OPEN_OBJECT + OPEN_LIST or not self._peek():
            self._fail()
        return self._value(0, _AFTER_MEMBER)

    def _value(self, depth: int, after: re.Pattern[str]) -> Any:
        if depth > MAX_DEPTH:
            raise Unreadable(self.at, "json_too_deep")
        sign = self._peek()
        if not sign:
            self._fail()
        if sign in OPEN_OBJECT:
            return self._object(depth)
        if sign in OPEN_LIST:
            return self._list(depth)
        if sign in _DOUBLE + _SINGLE:
            return self._string(after)
        return self._atom()

    def _object(self, depth: int) -> dict[str, Any]:
        self._take()
        made: dict[str, Any] = {}
        while not self._closes(CLOSE_OBJECT, made):
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
        while not self._closes(CLOSE_LIST, made):
            made.append(self._value(depth + 1, _AFTER_ELEMENT))
        return made

    def _closes(self, closers: str, made: Any) -> bool:
        """Step over a comma to the next member; True at the closing bracket, which is stepped over too."""
        if self.ended:
            return True
        self._space()
        comma = bool(made) and self._peek() != "" and self._peek() in COMMA
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
        first_column = self.at > self.start and self.text[self.at - 1] == "\n"
        return has_content and first_column and self._peek() in OPEN_OBJECT

    def _missing_comma(self, closers: str) -> None:
        begins = OPEN_OBJECT + OPEN_LIST if closers == CLOSE_LIST else _DOUBLE
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
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if "\ufffd" in whole and "\ufffd" not in text:
            self.codes["lone_surrogate"] = True
        return whole

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
        self.at = end_of(SPACE, self.text, self.at)
        while comment := COMMENT.match(self.text, self.at):
            self.codes["json_comment"] = True
            self.at = end_of(SPACE, self.text, comment.end())

    def _fail(self) -> NoReturn:
        raise Unreadable(self.at)
