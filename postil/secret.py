"""Texts that hide themselves: whoever prints, logs, formats or dumps one sees what it is, never the secret in it.

A type rather than a function to call: what is forgotten somewhere shows too little, not too much. None of them is a
`str`, since a dump of JSON or a join would take the text of one without asking it; `reveal()` is the only way.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

HIDDEN = "***"
_USER = re.compile(r"(://)[^\s\"'<>]{0,2000}@")  # up to the last @: a password may hold :, / and ?
_PAIR = re.compile(r"(?<=[?&;\s])([^=&;\s?]+)=([^&;\s]*)|^([\w.-]+)=(\S*)")
_NAMED = re.compile(r"(?i)(pass|pwd|secret|token|key|sig|cred|auth|session)")
_HARMLESS = frozenset(
    {
        "host",
        "hostaddr",
        "port",
        "dbname",
        "sslmode",
        "connect_timeout",
        "application_name",
        "target_session_attrs",
        "region",
        "region_name",
        "endpoint",
        "endpoint_url",
    }
)


class Secret:
    """A text of which nothing is shown: a key, a password."""

    __slots__ = ("_text",)

    def __init__(self, text: str | Secret = "") -> None:
        self._text = text.reveal() if isinstance(text, Secret) else text

    def reveal(self) -> str:
        """The text itself, for the one who sends or opens it."""
        return self._text

    def shown(self) -> str:
        """What may be seen of it."""
        return HIDDEN if self._text else ""

    def within(self, text: str) -> str:
        """`text` with every part of six characters or more of this secret hidden, as some services quote keys."""
        return _without(text, self._text)

    def __str__(self) -> str:
        return self.shown()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown()!r})"

    def __format__(self, how: str) -> str:
        return format(self.shown(), how)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (type(self), self._text) == (type(other), other._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Any:
        raise TypeError("a secret goes into no pickle")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _seen: Any) -> Secret:
        return self


class Address(Secret):
    """A URL, of which the user's name, the password, and what follows a question mark are not shown."""

    __slots__ = ()

    def shown(self) -> str:
        shown = hide(self._text)
        head, mark, query = shown.partition("?")
        if mark:
            shown = head + mark + _PAIR.sub(lambda pair: _pair(pair, _HARMLESS.__contains__), f"?{query}")[1:]
        elif "://" not in shown and "@" in shown and not shown.startswith(("/", ".", "~")):  # no scheme, and no path
            shown = f"{HIDDEN}@{shown.rpartition('@')[2]}"
        elif "://" not in shown:  # the other form in which databases are named: host=... password=...
            shown = _PAIR.sub(lambda pair: _pair(pair, _HARMLESS.__contains__), shown)
        return shown


class Options(Secret):
    """A line of options for a program, of which the values of those that name a key or a password are not shown."""

    __slots__ = ()

    def shown(self) -> str:
        try:
            words = shlex.split(self._text)
        except ValueError:  # a quotation that does not end: which word is whose cannot be told
            return HIDDEN
        shown: list[str] = []
        for i, word in enumerate(words):
            name, sign, _ = word.partition("=")
            if sign and _NAMED.search(name):
                shown.append(f"{name}={HIDDEN}")
            elif i and words[i - 1].startswith("-") and "=" not in words[i - 1] and _NAMED.search(words[i - 1]):
                shown.append(HIDDEN)
            else:
                shown.append(hide(word))
        return shlex.join(shown) if any(HIDDEN in word for word in shown) else self._text


def hide(text: str) -> str:
    """`text` in which no address tells a user or a password: for what other programs and libraries say."""
    return _USER.sub(rf"\1{HIDDEN}@", text)


def _pair(pair: re.Match[str], harmless: Any) -> str:
    name = pair[1] or pair[3]
    return pair[0] if harmless(name.lower()) else f"{name}={HIDDEN}"


LEAST = 6  # characters in a row by which a secret can be recognised


def _without(text: str, secret: str) -> str:
    if not secret:
        return text
    least = min(LEAST, len(secret))
    shown, i = [], 0
    while i < len(text):
        length = least
        if text[i : i + least] not in secret or i + least > len(text):
            shown.append(text[i])
            i += 1
            continue
        while i + length < len(text) and text[i : i + length + 1] in secret:
            length += 1
        shown.append(HIDDEN)
        i += length
    return "".join(shown)
