"""JSON records of many shapes become dialogues: messages, sharegpt, conversation, alpaca, pairs, flat rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from postil.dataset.blocks import turns_in
from postil.dataset.columns import NONE, Column, Layout, look, roles_by_name, settle_roles
from postil.dataset.drafts import Draft, Ledger, Turn, blank
from postil.dataset.inner import BY, SAID, flat, said, speaker, talk
from postil.dataset.marked import read_marked
from postil.dataset.names import meanings, misspelt, normal
from postil.dataset.raw import Record
from postil.dataset.rows import Table, read_table
from postil.dataset.speakers import cast, role_of
from postil.dataset.texts import draft_of, reads, says_nothing_else, text_key
from postil.errors import DataError
from postil.locales import in_all
from postil.records import Role

_KEPT = ("name", "tool_calls", "tool_call_id")
_SEVERAL = ("answers", "responses", "replies", "patterns", "questions", "queries", "prompts", "utterances")
_THOUGHTS = ("reasoningcontent", "reasoning", "thinking", "thoughts", "refusal")
_GUESTS = ("requester", "customer", "visitor", "guest", "buyer", "submitter", "client")
NOBODY: Mapping[str, Role] = {}


@dataclass(frozen=True)
class Keys:
    """What the keys of a record mean. `repaired`: damaged key -> the right one."""

    roles: Mapping[str, tuple[str, ...]]
    dialogue: str | None = None
    history: str | None = None
    tools: str | None = None
    repaired: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Reading:
    """State while the records of one file are read."""

    ledger: Ledger
    wanted: Mapping[str, str]
    shapes: Counter[str] = field(default_factory=Counter)
    columns: dict[str, str] = field(default_factory=dict)
    heard: set[tuple[str, str]] = field(default_factory=set)  # (role, key) of each key that a record was read by
    flat: dict[tuple[str, ...], list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    unused: Counter[str] = field(default_factory=Counter)

    def note(self, role: str, key: str) -> None:
        """A record was read by this key."""
        self.columns.setdefault(role, key)
        self.heard |= {(role, normal(name)) for name in (key, *(misspelt(key) or ())[:1])}


def read_records(
    records: Sequence[Record], wanted: Mapping[str, str], ledger: Ledger
) -> tuple[list[Draft], str, dict[str, str]]:
    """Dialogues, the name of the shape ("mixed" if there are several), and role -> key as they were understood.

    Records of which the ledger knows already are left out: what is told from all of them is told as if they were there.
    Raises DataError if no record has a key that was named.
    """
    reading = _Reading(ledger, wanted)
    drafts: list[Draft] = []
    for at, record in enumerate(records):
        if ledger.known(at):
            _one(at, record.value, _Reading(Ledger(ledger.numbers), wanted, flat=reading.flat))
        else:
            drafts += _one(at, record.value, reading)
    for keys, rows in reading.flat.items():
        drafts += _flat(keys, rows, reading)
    drafts.sort(key=lambda draft: draft.at[0])
    _answer_wishes(records, reading)
    if reading.unused:
        names = ", ".join(reading.unused)
        ledger.issue("columns_not_used", "advice", columns=names, count=len(reading.unused))
    shapes = list(reading.shapes)
    shape = shapes[0] if len(shapes) == 1 else "mixed" if shapes else ""
    return drafts, shape, reading.columns


def _answer_wishes(records: Sequence[Record], reading: _Reading) -> None:
    """A key that a person has named is used, or it is said why not."""
    for role, key in reading.wanted.items():
        if key == NONE or any((role, normal(part)) in reading.heard for part in (key, *key.split(","))):
            continue
        if not any(_has_key(record.value, key) for record in records):
            keys = dict.fromkeys(name for one in records[:50] if isinstance(one.value, dict) for name in one.value)
            raise DataError("no_such_record_key", key=key, keys=", ".join(list(keys)[:20]))
        reading.ledger.issue("key_not_heeded", "warning", key=key, role=in_all(f"role.{role}"))


def _has_key(value: Any, key: str) -> bool:
    """Whether a record, or an object inside it, has this key; a key of an object inside may stand after a dot."""
    wish = normal(key.rpartition(".")[2])
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            if any(normal(str(name)) in (wish, normal(key)) for name in inner):
                return True
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner
    return False


def _one(at: int, value: Any, reading: _Reading) -> list[Draft]:
    ledger = reading.ledger
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (dict, list)):
        ledger.repair("list_opened", at, "[{…}]", "{…}")
        value = value[0]
    if isinstance(value, list):
        return _bare_list(at, value, reading)
    if not isinstance(value, dict):
        ledger.drop(at, "missing_answer" if not blank(as_text(value)) else "empty_record", text=as_text(value)[:80])
        return []
    if not value or (
        all(blank(as_text(item)) for item in value.values() if not isinstance(item, list))
        and not any(isinstance(item, list) for item in value.values())
    ):
        ledger.drop(at, "empty_record", severity="warning", text="")
        return []
    if len(value) == 1 and isinstance(inner := next(iter(value.values())), dict) and len(inner) > 1:
        ledger.repair("wrapper_opened", at, "{…: {…}}", "{…}", key=next(iter(value)))
        value = inner
    only = _only_text(value)
    if only and (said := read_marked(only) or turns_in(only)):
        reading.shapes["marked"] += 1
        ledger.repair("marks_read", at, only, " / ".join(f"{role}: {text}" for role, text in said))
        return [Draft([Turn(role, text, (at,)) for role, text in said], (at,))]
    if _is_book(value, len(reading.ledger.numbers)):
        reading.shapes["pairs"] += 1
        return [Draft([Turn("user", q, (at,)), Turn("assistant", as_text(a), (at,))], (at,)) for q, a in value.items()]
    return _known(at, value, reading)


def _known(at: int, value: dict[str, Any], reading: _Reading) -> list[Draft]:
    """The dialogues of a record by what its keys mean; what it holds in objects of its own is taken out first."""
    ledger = reading.ledger
    keys = understand(tuple(value), tuple(sorted(reading.wanted.items())))
    if "rejected" in keys.roles and ("answer" in keys.roles or keys.dialogue is not None):
        return _compared(at, value, keys, reading)
    nested = any(isinstance(item, dict | list) for item in value.values())
    if nested and not _plain_pair(value, keys) and not (keys.dialogue and isinstance(value[keys.dialogue], list)):
        items, used = talk(value)
        if items:
            return _talked(at, value, keys, items, used, reading)
        if any(isinstance(item, dict) for item in value.values()):
            value = flat(value)
            keys = understand(tuple(value), tuple(sorted(reading.wanted.items())))
    for before, after in keys.repaired.items():
        ledger.repair("key_repaired", at, before, after, key=before, right=after)
        if normal(before) != normal(after):
            ledger.issue("damaged_key", "warning", at, key=before, right=after)
    if keys.dialogue is not None and (turns := _listed(value[keys.dialogue])) is not None:
        return _dialogue(at, value, keys, turns, reading)
    if "question" in keys.roles and "answer" in keys.roles and not _needs_grid(keys, value):
        if _is_nested(value[keys.roles["question"][0]]):
            ledger.drop(at, "nested_question", key=keys.roles["question"][0])
            return []
        if value.get("label") is False:  # as a list of good and bad answers has it
            ledger.drop(at, "marked_bad", severity="warning")
            return []
        return _pair(at, value, keys, reading)
    reading.flat.setdefault(tuple(value), []).append((at, value))
    return []


def _compared(at: int, value: dict[str, Any], keys: Keys, reading: _Reading) -> list[Draft]:
    """The dialogue with its wanted answer, as any other, and the unwanted answer beside it."""
    key = keys.roles["rejected"][0]
    rest = {name: item for name, item in value.items() if name != key}
    turns = _listed(value[keys.dialogue]) if keys.dialogue is not None else None
    if turns is not None and "answer" in keys.roles:  # the question is a list of messages, the answer stands beside it
        answer = rest.pop(keys.roles["answer"][0])
        last = answer if isinstance(answer, list) else [answer if isinstance(answer, dict) else _said_by_us(answer)]
        rest[str(keys.dialogue)] = [*turns, *last]
    drafts = _known(at, rest, reading)
    unwanted = value[key][-1] if isinstance(value[key], list) and value[key] else value[key]
    for draft in drafts:
        draft.rejected = Turn("assistant", as_text(said(unwanted)), (at,))
    if drafts:
        reading.note("rejected", key)
    return drafts


def _said_by_us(answer: Any) -> dict[str, str]:
    return {"role": "assistant", "content": as_text(answer)}


def _plain_pair(value: Mapping[str, Any], keys: Keys) -> bool:
    """Whether the record plainly holds a question that is a text, and an answer (which may be JSON) that is no talk."""
    if not {"question", "answer"} <= set(keys.roles):
        return False
    asked, answer = value[keys.roles["question"][0]], value[keys.roles["answer"][0]]
    return not isinstance(asked, dict) and not _is_messages(asked) and not _is_messages(answer)


def _is_nested(value: Any) -> bool:
    """A value that is no text, and no list of texts: shown as JSON, nobody would ask so."""
    if isinstance(value, list):
        return not all(isinstance(item, str) or _is_part(item) for item in value)
    return isinstance(value, dict) and said(value) is value


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(m, dict) and "role" in m for m in value)


def _talked(
    at: int, value: Mapping[str, Any], keys: Keys, items: list[Any], used: list[str], reading: _Reading
) -> list[Draft]:
    """The dialogue of messages found inside a record; a side that none of them has stands beside them as a text."""
    roles = {role_of(_who(item)) for item in items}
    question, answer = (
        [_joined(value, keys, (role,))] if role in keys.roles and keys.roles[role][0] not in used else []
        for role in ("question", "answer")
    )
    if question and "assistant" in roles and "user" not in roles:
        items, used = [{"role": "user", "content": question[0]}, *items], [*used, keys.roles["question"][0]]
    elif answer and "user" in roles and "assistant" not in roles:
        items, used = [*items, {"role": "assistant", "content": answer[0]}], [*used, keys.roles["answer"][0]]
    rest = {key: item for key, item in value.items() if key not in used}
    return _dialogue(at, rest, replace(keys, dialogue=", ".join(used)), items, reading)


def _only_text(value: Mapping[str, Any]) -> str:
    """The text of a record that holds only one."""
    texts = [item for item in value.values() if isinstance(item, str) and not blank(item)]
    return texts[0] if len(texts) == 1 and not any(isinstance(item, (list, dict)) for item in value.values()) else ""


def _is_book(value: Mapping[str, Any], records: int) -> bool:
    """A file that is one object: {question: answer, question: answer, ...}."""
    texts = all(isinstance(item, (str, int, float)) for item in value.values())
    return records == 1 and len(value) >= 3 and texts and not any(meanings(name) or misspelt(name) for name in value)


def _needs_grid(keys: Keys, value: Mapping[str, Any]) -> bool:
    """Whether records of this kind must be read together: turns held by an id, similar questions in columns."""
    return any(role in keys.roles and not blank(as_text(value[keys.roles[role][0]])) for role in
               ("conversation", "message", "similar")) or "turn" in keys.roles  # fmt: skip


# ── what keys mean ────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=4096)
def understand(names: tuple[str, ...], wanted: tuple[tuple[str, str], ...] = ()) -> Keys:
    """Roles of the keys of a record, by name; `wanted` (role, key) pairs come first where the record has the key."""
    repaired: dict[str, str] = {}
    known = {role for name in names for role, _ in meanings(name)}
    readable = []
    for name in names:
        right = name
        if not meanings(name) and (fix := misspelt(name)) and (fix[1] not in known or fix[1] == "messages"):
            right, _ = fix
            repaired[name] = right
        elif name != name.strip() or (len(name) > 2 and name.isascii() and name.isupper() and meanings(name)):
            right = repaired[name] = name.strip().lower()
        readable.append(right)
    wish = _wishes(wanted, names, readable)
    columns = [Column(filled=1.0, length=20.0) for _ in names]
    found = roles_by_name(tuple(readable), columns, wish)
    roles = {role: tuple(names[c] for c in hits) for role, hits in found.items()}
    unwanted = [names[i] for i, name in enumerate(readable) if any(r == "rejected" for r, _ in meanings(name))]
    if unwanted:
        roles["rejected"] = (unwanted[0],)
    special: dict[str, str | None] = {}
    for role in ("messages", "history", "tools"):
        hits = [names[i] for i, name in enumerate(readable) if any(r == role for r, _ in meanings(name))]
        special[role] = hits[0] if hits else None
    return Keys(roles, special["messages"], special["history"], special["tools"], repaired)


def _wishes(wanted: Iterable[tuple[str, str]], names: Sequence[str], readable: Sequence[str]) -> dict[str, str]:
    """Role -> key that a person has named, of those that the record has; a damaged key by the name it is read as."""
    right = {normal(name): name for name in readable} | dict(zip(map(normal, names), readable, strict=True))
    return {role: right.get(normal(key), key) for role, key in wanted if key == NONE or normal(key) in right}


# ── values ────────────────────────────────────────────────────────────────────────────────────────


def as_text(value: Any) -> str:
    """A JSON value as the text that a person would write for it. Content parts are joined."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict) and (text := said(value)) is not value:
        return as_text(text)
    if isinstance(value, list) and value and all(_is_part(part) for part in value):
        return "".join(part if isinstance(part, str) else as_text(part.get("text")) for part in value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return value[0]
    return json.dumps(value, ensure_ascii=False, default=str) if value else ""


def _is_part(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type", "text") in (
        "text", "input_text", "output_text")  # fmt: skip


def _pictures(item: Any) -> bool:
    """Whether a message holds parts that are no text: pictures, sound, files."""
    parts = (
        [part for value in item.values() if isinstance(value, list) for part in value] if isinstance(item, dict) else []
    )
    kinds = {str(part["type"]) for part in parts if isinstance(part, dict) and "type" in part}
    return bool(kinds - {"text", "input_text", "output_text", "function", "refusal"})


def _listed(value: Any) -> list[Any] | None:
    """The turns of a dialogue: a list, one object, or either written as a JSON string."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) else None


# ── dialogues ─────────────────────────────────────────────────────────────────────────────────────


def _bare_list(at: int, value: list[Any], reading: _Reading) -> list[Draft]:
    if not value:
        reading.ledger.drop(at, "empty_conversation")
        return []
    if len(value) == 2 and all(isinstance(item, str) for item in value):
        reading.shapes["pairs"] += 1
        draft = Draft([], (at,))
        draft.say("user", value[0], at)
        draft.say("assistant", value[1], at)
        return [draft]
    return _dialogue(at, {}, Keys({}), value, reading)


def _dialogue(at: int, value: Mapping[str, Any], keys: Keys, items: list[Any], reading: _Reading) -> list[Draft]:
    if not items:
        reading.ledger.drop(at, "empty_conversation")
        return []
    if any(_pictures(item) for item in items):
        reading.ledger.drop(at, "not_text", severity="warning")
        return []
    draft = Draft([], (at,), tools=_tools(value.get(keys.tools)) if keys.tools else ())
    if system := _system(value, keys):
        draft.say("system", system, at)
        reading.note("system", keys.roles["system"][0])
    shape = ""
    known = _cast(at, value, items, reading)
    for number, item in enumerate(items, 1):
        found = _turns_of(item, at, number, len(draft.turns), known)
        if isinstance(found, str):
            reading.ledger.drop(at, "bad_roles", turn=number, role=found[:40])
            return []
        shape = shape or found[0]
        draft.turns += found[1]
    reading.shapes[shape] += 1
    if keys.dialogue is not None:
        reading.note("conversation", keys.dialogue)
    _note_unused(value, {keys.dialogue, keys.tools, *keys.roles.get("system", ())}, reading)
    for item in items:
        _note_thoughts(item, reading)
    return [draft]


def _note_thoughts(item: Any, reading: _Reading) -> None:
    """What a model thought before it answered is no part of the dialogue."""
    for key in item if isinstance(item, dict) else ():
        if normal(str(key)) in _THOUGHTS and item[key] and key not in reading.unused:
            reading.unused[key] += 1


def _cast(at: int, value: Mapping[str, Any], items: Sequence[Any], reading: _Reading) -> Mapping[str, Role]:
    """Roles of speakers who go by their own names or numbers: the record may say whose request it is."""
    names = list(dict.fromkeys(filter(None, map(_who, items))))
    if len(names) < 2 or any(role_of(name) for name in names):
        return {}
    guests = {as_text(each) for key, each in value.items() if any(word in normal(str(key)) for word in _GUESTS)}
    if guests & set(names):
        return {name: "user" if name in guests else "assistant" for name in names}
    roles, guessed = cast(names)
    if guessed:
        shown = ", ".join(f"{name} = {role}" for name, role in list(roles.items())[:6])
        reading.ledger.issue("speakers_guessed", "warning", at, speakers=shown)
    return roles


def _who(item: Any) -> str:
    by = _by(item) if isinstance(item, dict) else None
    return speaker(item, by) if by is not None else ""


def _by(item: Mapping[str, Any]) -> str | None:
    return next((key for key in item if isinstance(key, str) and normal(key) in BY), None)


def _turns_of(
    item: Any, at: int, number: int, spoken: int, known: Mapping[str, Role] = NOBODY
) -> tuple[str, list[Turn]] | str:
    """(shape, turns) of one item of a dialogue's list; or the role, or the keys, that cannot be understood."""
    if isinstance(item, str):
        return "turns", [Turn("user" if spoken % 2 == 0 else "assistant", item, (at,))]
    if isinstance(item, (list, tuple)) and len(item) == 2:
        return "pairs", [Turn("user", as_text(item[0]), (at,)), Turn("assistant", as_text(item[1]), (at,))]
    if not isinstance(item, dict):
        return as_text(item) or "null"
    if (by := _by(item)) is not None:
        return _message(item, by, at, known)
    sides = [(role_of(key), key) for key in item]
    keys = understand(tuple(item))
    if "question" in keys.roles or "answer" in keys.roles:
        turns = [Turn("system", text, (at,))] if (text := _system(item, keys)) else []
        turns += [Turn("user", _joined(item, keys, ("question", "context")), (at,)),
                  Turn("assistant", _joined(item, keys, ("answer",)), (at,))]  # fmt: skip
        return "conversation", turns
    if sides and all(role is not None for role, _ in sides):
        return "conversation", [Turn(role, as_text(item[key]), (at,)) for role, key in sides if role is not None]
    return ", ".join(map(str, item)) or "{}"


def _message(item: Mapping[str, Any], by: str, at: int, known: Mapping[str, Role]) -> tuple[str, list[Turn]] | str:
    named = speaker(item, by)
    role: Role | None = role_of(named) or known.get(named)
    if role is None:
        return named or "null"
    place = next((key for key in item if normal(str(key)) in SAID), None)
    content = said(item[place]) if place is not None else ""
    extra = {key: item[key] for key in _KEPT if item.get(key)}
    if normal(named) == "functioncall":
        role = "assistant"
    weight = item.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        weight = 1.0
    if isinstance(item.get("loss"), bool):  # ms-swift writes the same wish so
        weight = float(item["loss"])
    shape = "sharegpt" if normal(by) == "from" else "messages"
    return shape, [Turn(role, as_text(content), (at,), None, float(weight), extra)]


def _tools(value: Any) -> tuple[Mapping[str, Any], ...]:
    listed = _listed(value)
    return tuple(tool for tool in listed if isinstance(tool, dict)) if listed else ()


def _system(value: Mapping[str, Any], keys: Keys) -> str:
    """The system prompt beside the messages; nothing where its key holds one of them itself."""
    named = keys.roles.get("system", ())
    return as_text(value[named[0]]) if named and named[0] in value else ""


# ── pairs ─────────────────────────────────────────────────────────────────────────────────────────


def _joined(value: Mapping[str, Any], keys: Keys, roles: Sequence[str]) -> str:
    shown = as_text if "answer" in roles else _cell  # a list that is to be answered stays JSON
    texts = [shown(value[key]) for role in roles for key in keys.roles.get(role, ())]
    return texts[0] if len(texts) == 1 else "\n".join(text for text in texts if not blank(text))


def _pair(at: int, value: Mapping[str, Any], keys: Keys, reading: _Reading) -> list[Draft]:
    draft = Draft([], (at,), tools=_tools(value.get(keys.tools)) if keys.tools else ())
    if not blank(system := _system(value, keys)):
        draft.say("system", system, at)
    if keys.history is not None:
        for number, item in enumerate(_listed(value[keys.history]) or [], 1):
            found = _turns_of(item, at, number, len(draft.turns))
            if isinstance(found, str):
                reading.ledger.drop(at, "bad_roles", turn=number, role=found[:40])
                return []
            draft.turns += found[1]
    _note_columns(value, keys, reading)
    reading.shapes["alpaca" if "context" in keys.roles else "pairs"] += 1
    asked, answers = _wordings(value, keys, "question"), _wordings(value, keys, "answer")
    if len(asked) < 2 and len(answers) < 2:
        asked, answers = [_joined(value, keys, ("question", "context"))], [_joined(value, keys, ("answer",))]
    else:
        reading.ledger.issue("wordings_paired", "advice", at, questions=len(asked), answers=len(answers))
    drafts = []
    for i in range(max(len(asked), len(answers))):
        turns = [Turn("user", asked[i % len(asked)], (at,)), Turn("assistant", answers[i % len(answers)], (at,))]
        group = f"row {reading.ledger.numbers[at]}" if len(asked) + len(answers) > 2 else ""
        drafts.append(Draft([*draft.turns, *turns], (at,), group, draft.tools))
    return drafts


def _wordings(value: Mapping[str, Any], keys: Keys, role: str) -> list[str]:
    """Several ways to put a question, or several right answers, where they stand in a list of texts."""
    listed = value[keys.roles[role][0]]
    several = normal(keys.roles[role][0]) in _SEVERAL
    if (
        several
        and isinstance(listed, list)
        and len(listed) > 1
        and len(keys.roles[role]) == 1
        and "context" not in keys.roles
    ):
        texts = [as_text(item) for item in listed if isinstance(item, str) or _is_part(item)]
        if len(texts) == len(listed):
            return list(dict.fromkeys(text for text in texts if not blank(text))) or [""]
    return [_joined(value, keys, ("question", "context") if role == "question" else ("answer",))]


def _note_columns(value: Mapping[str, Any], keys: Keys, reading: _Reading) -> None:
    for role, names in keys.roles.items():
        reading.note(role, names[0])
    _note_unused(value, {*(name for names in keys.roles.values() for name in names), keys.history, keys.tools}, reading)


def _note_unused(value: Mapping[str, Any], used: set[str | None], reading: _Reading) -> None:
    for name in value:
        if name not in used and value[name] not in (None, "", []) and name not in reading.unused:
            reading.unused[name] += 1


# ── flat records that only make sense together ────────────────────────────────────────────────────


def _flat(names: tuple[str, ...], rows: list[tuple[int, dict[str, Any]]], reading: _Reading) -> list[Draft]:
    ledger = reading.ledger
    cells = [tuple(_cell(value[name]) for name in names) for _, value in rows]
    keys = understand(names)
    readable = tuple(keys.repaired.get(name, name) for name in names)
    wish = _wishes(reading.wanted.items(), names, readable)
    columns = look(cells, len(names))
    nested = [c for c, name in enumerate(names) if any(_is_nested(value[name]) for _, value in rows)]
    columns = [Column() if c in nested else column for c, column in enumerate(columns)]
    layout = settle_roles(readable, columns, wish) if len(names) > 1 else None
    key = text_key(names) if layout is None or (layout.guessed and says_nothing_else(names)) else None
    if key is not None and reads([_cell(value[key]) for _, value in rows]):
        return _read(key, rows, reading)
    if layout is None or (layout.guessed and len(rows) < 3):
        for at, value in rows:
            code = "missing_question" if "answer" in keys.roles and "question" not in keys.roles else "missing_answer"
            ledger.drop(at, code, text=_joined_all(value))
        return []
    if layout.guessed:
        _say_guess(layout, names, ledger, rows[0][0])
    reading.shapes["rows" if "question" in layout.roles else "messages"] += 1
    for role, found in layout.roles.items():
        reading.note(role, names[found[0]])
    used = {column for found in layout.roles.values() for column in found}
    for column in (*layout.unused, *(c for c in nested if c not in used)):
        reading.unused[names[column]] += 1
    gone = frozenset(i for i, (at, _) in enumerate(rows) if ledger.known(at))
    return read_table(Table(cells, [at for at, _ in rows], lettered=False, gone=gone), layout, ledger)


def _read(key: str, rows: list[tuple[int, dict[str, Any]]], reading: _Reading) -> list[Draft]:
    """Records that hold a text and nothing that asks for it."""
    reading.shapes["texts"] += 1
    reading.note("text", key)
    for _, value in rows:
        _note_unused(value, {key}, reading)
    return [draft_of(_cell(value[key]), at) for at, value in rows if not reading.ledger.known(at)]


def _cell(value: Any) -> str:
    """Texts in a list stand below each other, as they do in the cell of a sheet."""
    texts = isinstance(value, list) and len(value) > 1 and all(isinstance(item, str) for item in value)
    return "\n".join(value) if texts else as_text(value)


def _say_guess(layout: Layout, names: tuple[str, ...], ledger: Ledger, at: int) -> None:
    question, answer = layout.of("question"), layout.of("answer")
    if question is not None and answer is not None:
        ledger.issue("columns_guessed", "warning", at, question=names[question], answer=names[answer])


def _joined_all(value: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (as_text(item) for item in value.values())))[:80]
