"""Who speaks: the words that formats and exports use for the two sides of a dialogue."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache

from postil.dataset.names import simple
from postil.dataset.words import words
from postil.records import Role

_HOUSE = re.compile(
    r"客服|官方|旗舰|专卖|专营|店|小二|坐席|座席|机器人|助手|顾问|agent|service|support|seller|bot|assistant", re.I
)
_GUEST = re.compile(r"买家|客户|用户|顾客|访客|会员|customer|buyer|client|user|visitor", re.I)
_MARKS = re.compile(r"[\s_\-*:：#【】\[\]()（）0-9]+")


@lru_cache(maxsize=4096)
def role_of(name: str) -> Role | None:
    """The role behind a format's own word (human, gpt, developer, 客户, 客服), or None if the word is unknown."""
    return _exact().get(_MARKS.sub("", simple(name[:60])))


@cache
def _exact() -> dict[str, Role]:
    return {word: role for role, listed in words()["speakers"].items() for word in listed.split()}


def cast(names: Iterable[str]) -> tuple[dict[str, Role], bool]:
    """Roles for the speakers of a chat, in their order of appearance; the second value: whether it was a guess."""
    order = list(dict.fromkeys(name.strip() for name in names))
    roles: dict[str, Role] = {}
    for name in order:
        role = role_of(name)
        if role is None and _HOUSE.search(name[:100]):
            role = "assistant"
        if role is None and _GUEST.search(name[:100]):
            role = "user"
        if role is not None:
            roles[name] = role
    unknown = [name for name in order if name not in roles]
    known = set(roles.values())
    if not unknown:
        return roles, False
    if "assistant" in known:
        return {**dict.fromkeys(unknown, "user"), **roles}, False
    if "user" in known:
        return {**dict.fromkeys(unknown, "assistant"), **roles}, len(unknown) > 1
    guess: dict[str, Role] = {name: "user" if i == 0 else "assistant" for i, name in enumerate(unknown)}
    return {**guess, **roles}, True
