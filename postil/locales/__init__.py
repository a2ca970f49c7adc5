"""What Postil says to people, in Chinese and in English: the same keys in zh.json and en.json."""

from __future__ import annotations

import json
import locale
import os
import re
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

from postil.paths import by_name

LANGUAGES = ("en", "zh")
_current: ContextVar[str | None] = ContextVar("language", default=None)
_served: ContextVar[bool] = ContextVar("served", default=False)
_PLAIN_ARGUMENT = re.compile(r"[\w@%+=:,./-]+" if os.name != "nt" else r"[\w@+=:,./\\~-]+")


def language() -> str:
    """The language that is spoken now: the one set by `speak`, else that of the system's locale."""
    return _current.get() or _of_system()


def speak(lang: str) -> None:
    """Speak `lang` ("zh" or "en") from here on, in this context."""
    if lang not in LANGUAGES:
        raise ValueError(f"language {lang!r} is not one of {LANGUAGES}")
    _current.set(lang)


def speak_to_clients() -> None:
    """From here on, in this context, nobody who reads has a command line before them, but a page or an HTTP client.

    Where there is a sentence `served.KEY`, it is said in place of KEY; paths of this machine are said by name alone.
    """
    _served.set(True)


def say(key: str, /, lang: str | None = None, **values: Any) -> str:
    """The sentence behind `key`, with `values` filled in. A key that is missing is a bug and raises KeyError.

    A value that is itself words is given in every language: {"en": ..., "zh": ...}. A sentence asks with {path!q} for
    a value as a command line takes it: it stands in a command that people copy.
    """
    lang = lang or language()
    words = {name: _worded(value, lang) for name, value in values.items()}
    sentences = _sentences(lang)
    sentence = (sentences.get(f"served.{key}") if _served.get() else None) or sentences[key]
    return _SPEAKER.vformat(sentence, (), words)


def _worded(value: Any, lang: str) -> Any:
    """A value as it is said: in this language, and to clients without the directories of this machine."""
    if isinstance(value, dict) and lang in value:
        value = value[lang]
    if _served.get() and isinstance(value, str | Path):
        return by_name(str(value))
    return value


def as_argument(text: object) -> str:
    """A text as one argument of a command that is shown to people, in quotation marks where it needs them."""
    words = str(text)
    if _PLAIN_ARGUMENT.fullmatch(words):
        return words
    if os.name == "nt":
        return '"' + words.replace('"', '\\"') + '"'
    return "'" + words.replace("'", "'\"'\"'") + "'"


def in_all(key: str, /, **values: Any) -> dict[str, str]:
    """The sentence behind `key` in every language: a value for a sentence that is said later, to whoever reads it."""
    return {lang: say(key, lang, **values) for lang in LANGUAGES}


def in_a_row(*sentences: str) -> str:
    """Sentences one after the other: between Chinese ones there is no space."""
    spaced = [one if one.endswith(("。", "！", "？")) else f"{one} " for one in sentences if one]
    return "".join(spaced).rstrip(" ")


def knows(key: str) -> bool:
    """Whether there is a sentence behind `key`."""
    return key in _sentences("en")


class _Speaker(Formatter):
    def convert_field(self, value: Any, conversion: Any) -> Any:
        return as_argument(value) if conversion == "q" else super().convert_field(value, conversion)


_SPEAKER = _Speaker()


@cache
def _sentences(lang: str) -> dict[str, str]:
    text = Path(__file__).with_name(f"{lang}.json").read_text(encoding="utf-8")
    sentences: dict[str, str] = json.loads(text)
    return sentences


@cache
def _of_system() -> str:
    name = locale.getlocale()[0] or ""
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"
