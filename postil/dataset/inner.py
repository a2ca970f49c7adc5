"""What a record holds in objects of its own: the messages of a request and its response, a text inside a body."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from postil.dataset.names import meanings, normal

BY = (  # keys that say who speaks; the last ones by a number
    "role", "from", "speaker", "sender", "author", "角色", "发送方", "说话人", "sendertype", "authortype", "authorid",
    "senderid",
)  # fmt: skip
SAID = ("content", "value", "text", "parts", "message", "utterance", "body", "msg", "内容", "消息", "文本")
_NAMED = ("role", "type", "sendertype", "usertype", "name", "nickname", "displayname", "id")  # of a speaker, best first
_DEEP = 5


def is_dialogue(items: Sequence[Any]) -> bool:
    """A list of messages of one dialogue, rather than a list of records."""
    if not items or not all(isinstance(each, dict) and any(normal(str(k)) in BY for k in each) for each in items):
        return False
    key = next((key for key in items[0] if any(role == "conversation" for role, _ in meanings(str(key)))), None)
    return key is None or len({str(each.get(key)) for each in items}) == 1


def speaker(item: Mapping[str, Any], key: str) -> str:
    """Who speaks in a message: a word, or what an object says of the person."""
    value = item[key]
    if isinstance(value, Mapping):
        known = {normal(str(name)): each for name, each in value.items() if isinstance(each, str | int)}
        value = next((known[name] for name in _NAMED if name in known), "")
    return str(value) if isinstance(value, str | int) else ""


def said(value: Any, depth: int = 0) -> Any:
    """The text in an object such as {"text": "..."} or {"parts": [...]}, also where that is written as a string."""
    if isinstance(value, str) and value.startswith('{"') and value.endswith("}"):
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            return value
        text = said(inner, depth) if isinstance(inner, dict) and inner.keys() <= {"text", "title", "tag"} else value
        return text if isinstance(text, str) else value
    if isinstance(value, dict) and depth < _DEEP:
        names = {normal(str(key)): key for key in value}
        found = next((value[names[name]] for name in SAID if name in names), None)
        rest = names.keys() - set(SAID) - set(BY) - {"type"}
        return value if found is None or rest else said(found, depth + 1)
    return value


def talk(value: Mapping[str, Any], depth: int = 0) -> tuple[list[Any], list[str]]:
    """The messages inside a record, answers last, and the keys that led there. Rejected answers are passed over."""
    found: list[Any] = []
    used: list[str] = []
    for key, item in sorted(value.items(), key=lambda pair: "answer" in _roles(pair[0])):
        inner: list[Any] = []
        if _roles(key) & {"nothing", "tools", "rejected"}:
            continue
        if isinstance(item, list) and is_dialogue(item):
            inner = item
        elif isinstance(item, list) and normal(str(key)) == "choices" and item and isinstance(item[0], dict):
            inner = talk(item[0], depth + 1)[0]
        elif isinstance(item, dict) and is_message(item):
            inner = [item]
        elif isinstance(item, dict) and depth < _DEEP:
            inner = talk(item, depth + 1)[0]
        found += inner
        used += [key] if inner else []
    return found, used


def _roles(key: Any) -> set[str]:
    return {role for role, _ in meanings(str(key))}


def is_message(value: Mapping[str, Any]) -> bool:
    names = {normal(str(key)) for key in value}
    return bool(names & set(BY)) and bool(names & set(SAID))


def flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """A record without objects inside: {"inputs": {"query": q}} is {"query": q}; a name that is taken gets its path."""
    made: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict) and (text := said(item)) is not item:
            made[key] = text
        elif isinstance(item, dict):
            for name, each in flat(item).items():
                made[name if name not in made and name not in value else f"{key}.{name}"] = each
        else:
            made[key] = said(item) if isinstance(item, str) else item
    return made
