"""Marks in texts, in whatever way people write them, become one form: see `model/entities.py`.

Understood are, beside that form itself: a JSON list of {"text", "type"} or an object {"产品": "海苔"}; texts such as
产品:海苔; 品牌:某某; one BIO tag for each character or word; and marks inside the text,
[海苔](产品) or <产品>海苔</产品>, in the question or in the answer.
What cannot be aligned with its text is dropped and listed, with its rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from postil.model.entities import Entity, fault_of, from_tags, read_entities, units_of, write_entities
from postil.records import Dataset, Example, Issue, Left, Message, Repair

TAG = re.compile(r"O|[BIESMLU]-\S{1,40}")
NOTHING = frozenset(("", "[]", "{}", "无", "没有", "空", "none", "null", "n/a", "-", "/", "o"))
_INLINE = re.compile(
    r"\[(?P<text>[^\[\]\n]{1,80})\]\((?P<type>[^()\s]{1,40})\)|<(?P<tag>[^<>/\s]{1,40})>(?P<inner>[^<>]{1,80})</(?P=tag)>"
)
_PAIR = re.compile(r"\s*(?P<type>[^:：;；\n]{1,40})[:：]\s*(?P<text>[^;；\n]{1,200})")
_TEXT_KEYS = ("text", "word", "span", "entity", "value", "name", "文本", "实体", "词", "内容")
_TYPE_KEYS = ("type", "label", "tag", "entity_type", "category", "类型", "标签", "类别")
_MOSTLY = 0.9  # of the examples
_SAMPLE = 500  # examples are enough to tell


def for_task(dataset: Dataset, task: str | None) -> Dataset:
    """The data set as a task needs its examples."""
    return tagged(dataset) if task == "token_cls" else dataset


def tagged(dataset: Dataset) -> Dataset:
    """The data set with its marks in the one form. Done again, it changes nothing."""
    examples, issues, dropped, repaired = [], list(dataset.issues), list(dataset.dropped), list(dataset.repaired)
    failed: list[tuple[Example, str]] = []
    for example in dataset.examples:
        made = tagged_example(example)
        if isinstance(made, str):
            failed.append((example, made))
            continue
        examples.append(made)
        before, after = _asked(example), _asked(made)
        if before != after:
            repaired.append(Repair("tags_read", example.rows[0] if example.rows else None, before, after))
    used = {row for example in examples for row in example.rows}
    for example, fault in failed:
        code = f"label_{fault}"
        issues.append(Issue(code, "error", example.rows[0] if example.rows else None))
        dropped += [Left(row, code) for row in example.rows if row not in used]
    return replace(
        dataset, examples=tuple(examples), issues=tuple(sorted(issues, key=lambda issue: issue.row or 0)),
        dropped=tuple(sorted(dropped, key=lambda left: left.row)), repaired=tuple(repaired),
    )  # fmt: skip


def looks_tagged(examples: Sequence[Example]) -> bool:
    """Whether nearly all answers mark pieces of their question, and not only say what some of them are."""
    if not examples:
        return False
    examples = examples[:: max(1, len(examples) // _SAMPLE)]
    found = [tagged_example(example) for example in examples]
    good = sum(not isinstance(made, str) and len(read_entities(made.answer) or ()) > 0 for made in found)
    fits = sum(not isinstance(made, str) for made in found)
    return fits >= _MOSTLY * len(examples) and 2 * good >= len(examples)


def tagged_example(example: Example) -> Example | str:
    """An example with its marks in the one form; or what is wrong with them: spans_unreadable and the faults of
    `entities.fault_of`."""
    text, answer = _asked(example), example.answer.strip()
    plain, inside = inline(text)
    if inside:
        return _with(example, plain, inside)
    entities = _aligned(_listed(text, answer), text)
    if isinstance(entities, str):
        return entities
    return _with(example, text, entities)


def inline(text: str) -> tuple[str, list[Entity]]:
    """The text without the marks that stand inside it, and the pieces that they marked."""
    plain, last = "", 0
    found = []
    for mark in _INLINE.finditer(text):
        plain += text[last : mark.start()]
        words, kind = mark["text"] or mark["inner"], mark["type"] or mark["tag"]
        found.append(Entity(len(plain), len(plain) + len(words), kind, words))
        plain, last = plain + words, mark.end()
    return plain + text[last:], found


# ── what an answer says ───────────────────────────────────────────────────────────────────────────

Said = tuple[str, str, int | None]  # words, type, where they begin if that is told


def _listed(text: str, answer: str) -> list[Said] | str:
    """The pieces that an answer names."""
    if answer.casefold() in NOTHING:
        return []
    plain, inside = inline(answer)
    if inside:
        return [(one.text, one.type, one.start) for one in inside] if _same(plain, text) else "spans_do_not_fit"
    if answer[0] in "[{":
        return _of_json(answer)
    tags = answer.split()
    if all(TAG.fullmatch(tag) for tag in tags):
        return _of_tags(tags, text)
    parts = [part for part in re.split(r"[;；\n]", answer) if part.strip()]
    pairs = [_PAIR.fullmatch(part) for part in parts]
    if not all(pairs):
        return "spans_unreadable"
    return [(pair["text"].strip(), pair["type"].strip(), None) for pair in pairs if pair]


def _of_json(answer: str) -> list[Said] | str:
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return "spans_unreadable"
    if isinstance(told, dict) and not any(key in told for key in _TEXT_KEYS):
        each = [
            (kind, value)
            for kind, values in told.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        if not all(isinstance(value, str) for _, value in each):
            return "spans_unreadable"
        return [(value.strip(), kind.strip(), None) for kind, value in each if value.strip()]
    found = []
    for one in told if isinstance(told, list) else [told]:
        words, kind = (_first(one, keys) for keys in (_TEXT_KEYS, _TYPE_KEYS))
        if not isinstance(words, str) or not isinstance(kind, str) or not words or not kind:
            return "spans_unreadable"
        start = one.get("start")
        found.append((words, kind, start if type(start) is int else None))
    return found


def _first(one: Any, keys: Sequence[str]) -> Any:
    return next((one[key] for key in keys if key in one), None) if isinstance(one, dict) else None


def _of_tags(tags: Sequence[str], text: str) -> list[Said] | str:
    """One tag for each word, each unit, each character that is no space, or each character."""
    ways = (
        [found.span() for found in re.finditer(r"\S+", text)], units_of(text),
        [(at, at + 1) for at, sign in enumerate(text) if not sign.isspace()],
        [(at, at + 1) for at in range(len(text))],
    )  # fmt: skip
    for units in ways:
        if len(units) == len(tags):
            return [(one.text, one.type, one.start) for one in from_tags(tags, units, text)]
    return "spans_do_not_fit"


# ── where it stands in the text ───────────────────────────────────────────────────────────────────


def _aligned(said: list[Said] | str, text: str) -> list[Entity] | str:
    """The pieces at their places: where they are said to begin, or else the nearest, or first, free place."""
    if isinstance(said, str):
        return said
    found: list[Entity] = []
    for words, kind, start in said:
        free = [
            at for at in _places(words, text) if not any(at < one.end and one.start < at + len(words) for one in found)
        ]
        if not free:
            return "spans_overlap" if any(_places(words, text)) else "spans_do_not_fit"
        at = min(free, key=lambda place: abs(place - start)) if start is not None else free[0]
        found.append(Entity(at, at + len(words), kind, text[at : at + len(words)]))
    return fault_of(found, text) or sorted(found)


def _places(words: str, text: str) -> Iterator[int]:
    """Where the words stand; in another case, if they do not stand there as they are."""
    folded = text.casefold()
    for where, what in ((text, words), (folded, words.casefold())):
        if len(where) != len(text) or len(what) != len(words):
            continue
        at = where.find(what)
        if at >= 0:
            while at >= 0:
                yield at
                at = where.find(what, at + 1)
            return


def _same(one: str, other: str) -> bool:
    return "".join(one.split()) == "".join(other.split())


def _asked(example: Example) -> str:
    return next((message.content for message in reversed(example.question) if message.role == "user"), "")


def _with(example: Example, text: str, entities: Sequence[Entity]) -> Example | str:
    fault = fault_of(entities, text)
    if fault:
        return fault
    messages = list(example.messages)
    asked = max(i for i, message in enumerate(example.question) if message.role == "user")
    messages[asked] = replace(messages[asked], content=text)
    answered = max(i for i, message in enumerate(messages) if message.role == "assistant")
    kept = messages[answered]
    messages[answered] = Message("assistant", write_entities(entities), kept.weight, kept.extra)
    return replace(example, messages=tuple(messages))
