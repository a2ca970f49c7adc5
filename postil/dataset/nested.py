"""Records deep inside JSON: lists by category, groups with items, what a web service answers. They become one list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from postil.dataset.inner import is_dialogue, talk
from postil.dataset.limits import MAX_ROWS
from postil.dataset.names import meanings, misspelt, normal
from postil.dataset.words import listed
from postil.errors import FileError

STEP = " → "  # between the keys that lead to a list inside objects
_ASKS, _ANSWERS = {"question", "instruction", "input", "similar"}, {"answer"}
_TALKS = {"messages", "history"}
_PARTS = listed("parts")
_KEYS = 200  # keys of an object that tell what it is
_LOOKED_AT = 5  # items of a list that tell what it holds


@dataclass(frozen=True)
class Unfolded:
    """The records of a nested value in the order of the file.

    path: the keys that led to the one list, "" if there were several. groups: the names of the lists that were joined.
    left: names of lists that hold something else. field: the key under which each record keeps its group's name.
    """

    records: list[Any]
    path: str = ""
    groups: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    field: str = ""
    count: int = 0  # of groups without a name of their own
    form: str = ""  # columns: the table was written column by column; rows: its first
    # row held the names; ids: each record stood under its own name

    @property
    def parts(self) -> bool:
        """Whether the groups are a split that someone has made: train, test."""
        return bool(self.groups) and all(normal(name.rpartition(STEP)[2]) in _PARTS for name in self.groups)


def unfold(value: Any) -> Unfolded | None:
    """The records inside `value`, or None if it is itself a record, or a plain list of records."""
    if isinstance(value, dict):
        if _is_flat(value) or not (tabled := _of_columns(value)):
            return None if _is_flat(value) or _is_record(value) else _of_object(value)
        return _bounded(tabled, Unfolded([], form="columns"))
    if isinstance(value, list) and _has_head(value):
        return _bounded([dict(zip(value[0], row, strict=False)) for row in value[1:]], Unfolded([], form="rows"))
    if isinstance(value, list) and value and all(_is_group(item) for item in value[:_LOOKED_AT]):
        return _bounded([record for item in value for record in _inside(item, {})], Unfolded([], count=len(value)))
    return None


def open_group(value: Any) -> list[Any] | None:
    """The records of one group, as `unfold` finds them; None if it is none."""
    return _inside(value, {}) if _is_group(value) else None


def _bounded(records: list[Any], about: Unfolded) -> Unfolded | None:
    if len(records) > MAX_ROWS:
        raise FileError("too_many_rows", most=MAX_ROWS)
    return replace(about, records=records) if records else None


def _of_object(value: Mapping[str, Any]) -> Unfolded | None:
    """The lists of an object, joined: those that hold questions and answers, else all, if they are alike."""
    if len(value) > 1 and all(isinstance(each, dict) and _is_record(each) for each in value.values()):
        return _bounded([_with(record, {"id": key}) for key, record in value.items()], Unfolded([], form="ids"))
    lists = dict(_lists(value, ""))
    if len(lists) == 1:
        path, items = next(iter(lists.items()))
        if 3 in _sides(value) or (isinstance(items, list) and _is_text(items[0])):
            return None
        return _bounded(_records_of(items, {}), Unfolded([], path))
    fit = {path: items for path, items in lists.items() if _holds_pairs(items)}
    left = tuple(path for path in lists if path not in fit)
    if not fit:
        if len(lists) < 2 or any(not isinstance(item, list | dict) for item in value.values()):
            return None
        fit, left = lists, ()
    if len(fit) == 1:
        path, items = next(iter(fit.items()))
        return _bounded(_records_of(items, {}), Unfolded([], path, (), left))
    field = _field(fit)
    joined = [record for path, items in fit.items() for record in _records_of(items, {field: path})]
    return _bounded(joined, Unfolded([], "", tuple(fit), left, field))


def _of_columns(value: Mapping[str, Any]) -> list[Any]:
    """The records of a table that was written column by column, as data frames are; [] if it is none."""
    if value.keys() >= {"columns", "data"} and isinstance(value["data"], list) and isinstance(value["columns"], list):
        names = [str(name) for name in value["columns"]]
        return [dict(zip(names, row, strict=False)) for row in value["data"] if isinstance(row, list)]
    columns = list(value.values())
    if len(value) < 2 or not _names_both(value):
        return []
    if all(isinstance(each, dict) and each and each.keys() == columns[0].keys() for each in columns):
        columns = [list(each.values()) for each in columns]
    if not all(isinstance(each, list) and len(each) == len(columns[0]) > 1 for each in columns):
        return []
    if any(isinstance(item, dict | list) for each in columns for item in each[:_LOOKED_AT]):
        return []
    return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]


def _has_head(rows: Sequence[Any]) -> bool:
    """Whether these are the rows of a table, its headings first."""
    if len(rows) < 2 or not all(isinstance(row, list) for row in rows) or not all(map(_is_text, rows[0])):
        return False
    same = all(len(row) <= len(rows[0]) and not any(isinstance(item, dict | list) for item in row) for row in rows)
    return same and len(set(rows[0])) == len(rows[0]) > 1 and _names_both(rows[0])


def _names_both(names: Iterable[Any]) -> bool:
    sides = {role for name in islice(names, _KEYS) for role, strength in _roles(name).items() if strength >= 2}
    return bool(sides & _ASKS) and bool(sides & _ANSWERS)


def _field(groups: Mapping[str, Any]) -> str:
    names = "".join(groups)
    return "category" if names.isascii() else "分类"


def _lists(value: Mapping[str, Any], path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(path, items) of each list of records in an object and the objects in it; {question: answer, ...} counts."""
    for key, item in value.items():
        name = f"{path}{STEP}{key}" if path else str(key)
        if isinstance(item, list) and item and _is_listing(item):
            yield name, item
        elif isinstance(item, dict) and depth < 4:
            if _is_book(item):
                yield name, item
            elif not _is_record(item):
                yield from _lists(item, name, depth + 1)


def _is_listing(items: Sequence[Any]) -> bool:
    """Objects, texts, or pairs of texts, and no messages."""
    first = items[:_LOOKED_AT]
    if is_dialogue(first):
        return False
    return all(isinstance(each, dict) for each in first) or all(map(_is_pair, first)) or all(map(_is_text, first))


def _is_text(item: Any) -> bool:
    return isinstance(item, str) and bool(item.strip())


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(isinstance(each, str) for each in item)


def _is_book(value: Mapping[str, Any]) -> bool:
    """{question: answer, question: answer, ...}"""
    return len(value) >= 2 and all(map(_is_text, value.values())) and not any(map(_roles, islice(value, _KEYS)))


def _roles(key: Any) -> dict[str, int]:
    """role -> strength of a key, a damaged one included."""
    found = dict(meanings(str(key)))
    if not found and (right := misspelt(str(key))):
        return {right[1]: 3}
    return found


def _sides(value: Mapping[str, Any]) -> tuple[int, int]:
    """How surely the keys of an object name a question and an answer that it holds itself."""
    ask = answer = 0
    for key, item in islice(value.items(), _KEYS):
        if isinstance(item, dict) or (isinstance(item, list) and not all(isinstance(each, str) for each in item)):
            continue
        for role, strength in _roles(key).items():
            ask = max(ask, strength) if role in _ASKS else ask
            answer = max(answer, strength) if role in _ANSWERS else answer
    return ask, answer


def _talks(value: Mapping[str, Any]) -> bool:
    """Whether an object holds a dialogue: a list under a key that says so, or a list of messages."""
    return any(
        isinstance(item, list)
        and (is_dialogue(item[:_LOOKED_AT]) or (_TALKS & _roles(key).keys() and not _of_dialogues(item)))
        for key, item in value.items()
    )


def _of_dialogues(items: Sequence[Any]) -> bool:
    return bool(items) and all(
        isinstance(each, dict) and (_talks(each) or talk(each)[0]) for each in items[:_LOOKED_AT]
    )


def _is_flat(value: Mapping[str, Any]) -> bool:
    return not any(isinstance(item, list | dict) for item in value.values())


def _is_record(value: Mapping[str, Any]) -> bool:
    ask, answer = _sides(value)
    return (ask >= 2 and answer >= 2) or _talks(value)


def _holds_pairs(items: Any) -> bool:
    if isinstance(items, dict) or _is_pair(items[0]):
        return True
    return any(isinstance(each, dict) and (_is_record(each) or _is_group(each)) for each in items[:_LOOKED_AT])


def _is_group(value: Any, depth: int = 0) -> bool:
    """An object that holds a list of records and is none itself: {"category": "A", "items": [{...}, ...]}."""
    if not isinstance(value, dict) or depth > 4 or _is_flat(value) or _is_record(value):
        return False
    return any(_is_inner(item, depth) for item in value.values())


def _is_inner(item: Any, depth: int) -> bool:
    first = item[0] if isinstance(item, list) and item else None
    return isinstance(first, dict) and (_sides_plain(first) or _is_group(first, depth + 1)) and not is_dialogue(item)


def _sides_plain(value: Mapping[str, Any]) -> bool:
    """An object of a list inside a record is a record only if it surely asks and answers (or talks) itself."""
    ask, answer = _sides(value)
    nested = answer >= 2 or any("answer" in _roles(key) for key in value)  # SQuAD: answers: [{"text": ...}]
    return (ask >= 2 and nested) or _talks(value)


def _records_of(items: Any, about: Mapping[str, Any]) -> list[Any]:
    """The records of a list or of a book, each with what its group says of all."""
    if isinstance(items, dict):
        return [{"question": question, "answer": answer, **about} for question, answer in items.items()]
    records: list[Any] = []
    for item in items:
        if isinstance(item, dict):
            records += _inside(item, about) if _is_group(item) else [_with(item, about)]
        elif _is_pair(item):
            records.append({"question": item[0], "answer": item[1], **about})
        else:
            records.append({"text": item, **about} if about else item)
    return records


def _inside(group: Any, about: Mapping[str, Any]) -> list[Any]:
    """The records of a group; its own texts and numbers (category, context) go with each of them."""
    if not isinstance(group, dict):
        return [group]
    said = {key: item for key, item in group.items() if not isinstance(item, list | dict)}
    inner = [item for item in group.values() if _is_inner(item, 0)]
    if not inner:
        return [_with(group, about)]
    return [record for items in inner for record in _records_of(items, {**about, **said})]


def _with(record: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    return {**record, **{key: item for key, item in about.items() if key not in record}}
