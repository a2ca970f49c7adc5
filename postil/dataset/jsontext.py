"""JSON as people really have it: correct text goes through `json` untouched, damaged text is repaired and listed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from postil.dataset.inner import is_dialogue
from postil.dataset.jsonscan import CLOSE_LIST, COMMA, COMMENT, OPEN_LIST, QUOTE, SPACE, Scanner, Unreadable, end_of
from postil.dataset.limits import MAX_DEPTH, MAX_ROWS
from postil.dataset.nested import Unfolded, open_group, unfold
from postil.dataset.raw import Findings, Record
from postil.errors import FileError

_SURROGATE = re.compile("[\ud800-\udfff]")


def looks_like_json(text: str) -> bool:
    """Whether the text begins as JSON does, or most of its first lines do."""
    start = re.compile(rf"\s*[{{｛\[［]\s*(?:[{QUOTE}{{｛\[［}}\]]|[A-Za-z_]\w{{0,63}}\s*[:：]|-?\d+\s*,|//|#)")
    body = re.sub(r"\A(?:[\s\ufeff,，]|//[^\n]*\n|#[^\n]*\n)+", "", text[:100_000])
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
        whole, notes = _load_whole(text)
    except Unreadable:
        return _open_groups(*_Stream(text, found).read(), found)
    if isinstance(whole, list) and notes and len(whole) > 1:
        return _open_groups(*_Stream(text, found).read(), found)  # element by element, so that each note has its place
    if unfolded := unfold(whole):
        _tell(unfolded, found)
        whole = unfolded.records
    if not isinstance(whole, list) or is_dialogue(whole):
        records = [Record(1 + text[: len(text) - len(text.lstrip())].count("\n"), whole)]
        _report(notes, records[0], text, found)
        return ("jsonl" if "\n" not in text.strip() else "json"), records
    if len(whole) > MAX_ROWS:
        raise FileError("too_many_rows", most=MAX_ROWS)
    return "json", _elements(whole, notes, text, found)


def _open_groups(form: str, records: list[Record], found: Findings) -> tuple[str, list[Record]]:
    """The records inside those that were read one by one. Those of one line keep its number."""
    if len(records) == 1 and (unfolded := unfold(records[0].value)):
        _tell(unfolded, found)
        return "json", [Record(number, value) for number, value in enumerate(unfolded.records, 1)]
    opened: list[Record] = []
    groups = 0
    for record in records:
        inner = open_group(record.value)
        groups += inner is not None
        opened += [record] if inner is None else [Record(record.row, value) for value in inner]
    if groups:
        found.issue("groups_opened", "advice", None, groups=groups, count=len(opened))
    return form, opened


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

    def __init__(self, twice: list[str] | None = None) -> None:
        self.twice: list[str] = twice or []
        self.not_a_number = False
        self.surrogate = False
        self.end = 0  # of the value in the text

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
    decoder = json.JSONDecoder(object_pairs_hook=notes.pairs, parse_constant=notes.constant)
    start = end_of(SPACE, text, 0)
    try:
        value, end = decoder.raw_decode(text, start)
    except RecursionError:
        raise Unreadable(start, "json_too_deep") from None
    except json.JSONDecodeError as error:
        raise Unreadable(error.pos) from None
    except ValueError:  # a number of more than 4300 digits
        raise Unreadable(start, "json_too_long") from None
    notes.end = end
    if text.count("[", 0, end) + text.count("{", 0, end) > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise Unreadable(start, "json_too_deep")
    if text.find("\\ud", 0, end) >= 0 or text.find("\\uD", 0, end) >= 0:
        value = _without_surrogates(value, notes)
    return value, notes


def _load_whole(text: str) -> tuple[Any, _Notes]:
    value, notes = _load(text)
    if end_of(SPACE, text, notes.end) < len(text):
        raise Unreadable(notes.end)
    return value, notes


def _load_line(text: str, at: int) -> tuple[Any, _Notes, int]:
    """The correct JSON value that begins at `at` and ends on the same line, and the place after it."""
    end = text.find("\n", at)
    value, notes = _load(text[at : len(text) if end < 0 else end])
    return value, notes, at + notes.end


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


def _tell(unfolded: Unfolded, found: Findings) -> None:
    """Say from where in the file its records were taken."""
    if unfolded.path:
        found.repair("wrapper_opened", 1, f'{{"{unfolded.path}": [...]}}', "[...]", key=unfolded.path)
    elif unfolded.form:
        found.issue("table_in_json", "advice", None, count=len(unfolded.records))
    elif unfolded.count:
        found.issue("groups_opened", "advice", None, groups=unfolded.count, count=len(unfolded.records))
    elif unfolded.parts:
        found.issue("parts_joined", "warning", None, parts=_names(unfolded.groups))
    else:
        count = len(unfolded.records)
        found.issue("groups_joined", "advice", None, groups=_names(unfolded.groups), key=unfolded.field, count=count)
    if unfolded.left:
        found.issue("lists_not_used", "warning", None, lists=_names(unfolded.left))


def _names(names: Sequence[str], most: int = 12) -> str:
    shown = [name[:30] for name in names[:most]]
    return ", ".join([*shown, "…"] if len(names) > most else shown)


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
        self.between = tuple(COMMA)  # signs that may stand between two records
        self.seen = ""  # those that stood there

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
        at = end_of(SPACE, self.text, 0)
        comments = []
        while comment := COMMENT.match(self.text, at):
            comments.append(comment[0])
            at = end_of(SPACE, self.text, comment.end())
        if self.text[at : at + 1] not in OPEN_LIST or at >= len(self.text):
            return
        end = self.text.find("\n", at)
        first = self.text[at : len(self.text) if end < 0 else end].strip()
        if len(first) > 1 and end >= 0 and first[-1] in CLOSE_LIST:
            return
        if end < 0 and first[-1] in CLOSE_LIST and _is_record_list(first) is False:
            return
        for comment_text in comments:
            self.found.repair("json_comment", None, comment_text, "")
        self.array, self.at, self.between = True, at + 1, tuple(COMMA + CLOSE_LIST)

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
            self.at = end_of(SPACE, self.text, self.at)
            self.fresh |= "\n" in self.text[start : self.at]
            if comment := COMMENT.match(self.text, self.at):
                self.found.repair("json_comment", None if self.array else self._row(), comment[0], "")
                self.at = comment.end()
            elif self.text[self.at : self.at + 1] in self.between:
                self.seen += self.text[self.at]
                self.at += 1
            else:
                break
        self._check_between(self.at < len(self.text))
        return self.at < len(self.text)

    def _check_between(self, more: bool) -> None:
        """The elements of an array stand between commas, and its end is marked: list what is not so."""
        if self.array:
            comma, closed = any(sign in COMMA for sign in self.seen), any(sign in CLOSE_LIST for sign in self.seen)
            if more and self.element and not comma and not closed:
                self.found.repair("json_comma_added", self.element, "", ",")
            elif not more and not closed:
                self.found.repair("json_brace_added", self.element or None, "", "]")
            elif not more and comma:
                self.found.repair("json_trailing_comma", self.element or None, self.seen, self.seen.strip(COMMA))
        self.seen = ""

    def _one(self) -> None:
        """Read the record at this place: by the standard library if it is correct, else with repairs."""
        row, start = self._row(), self.at
        codes: list[str] = []
        try:
            value, notes, end = _load_line(self.text, start)
            if not isinstance(value, dict | list) and not self._ends_line(end):
                raise Unreadable(end)
        except Unreadable:
            scanner = Scanner(self.text, start)
            try:
                value = scanner.record()
            except Unreadable as problem:
                self._skip(row, start, problem)
                return
            notes, end = _Notes(scanner.twice), start + len(self.text[start : scanner.at].rstrip())
            codes = list(scanner.codes)
        before, self.at = self.text[start:end], end
        if not self.array:
            codes += ["json_split"] * (not self.fresh) + ["json_joined"] * ("\n" in before)
        self.fresh = False
        self._keep(row, value, before, codes)
        _report(notes, Record(row, value), before, self.found)

    def _ends_line(self, at: int) -> bool:
        end = self.text.find("\n", at)
        return not self.text[at : len(self.text) if end < 0 else end].strip(" \t,，]")

    def _keep(self, row: int, value: Any, before: str, codes: list[str]) -> None:
        if isinstance(value, list) and _opens(value) and not self.array:
            self.found.repair("list_opened", row, before, ", ".join(_shown(each) for each in value))
            self.records += [Record(row, each) for each in value]
        else:
            self.records.append(Record(row, value))
        for code in codes:
            self.found.repair(code, row, before, _shown(value))

    def _skip(self, row: int, start: int, problem: Unreadable) -> None:
        """Leave what cannot be read: to the end of its line, or to the next element of an array."""
        text = self.text
        if self.array:
            following = re.compile(r"[,，]?[ \t]*\n\s*(?=[{｛])|[}｝]\s*[,，]\s*(?=[{｛])").search(text, problem.at)
            self.at, self.seen = (following.end() if following else len(text)), ","
            if not following and not text[start:].strip(" \t\n]］,，"):
                return
        else:
            # A record that is too deep ends where the scanner gave up: what it has read is not read again.
            end = text.find("\n", problem.at if problem.code == "json_too_deep" else start)
            self.at = len(text) if end < 0 else end
        self.found.leave(row, problem.code, text=_glimpse(text[start : min(self.at, start + 200)]))
        self.found.issue(problem.code, "error", row, text=_glimpse(text[start : min(self.at, start + 200)]))


def _is_record_list(line: str) -> bool:
    try:
        value, _ = _load_whole(line)
    except Unreadable:
        return True
    return isinstance(value, list)


def _opens(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(each, dict) for each in items) and not is_dialogue(items)


def _glimpse(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:59] + "…"
