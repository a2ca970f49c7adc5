"""What Postil says to people, in Chinese and in English: the same keys in zh.json and en.json."""

from __future__ import annotations

import json
import locale
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "zh")
_current: ContextVar[str | None] = ContextVar("language", default=None)
_served: ContextVar[bool] = ContextVar("served", default=False)


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

    Where there is a sentence `served.KEY`, it is said in place of KEY.
    """
    _served.set(True)


def say(key: str, /, lang: str | None = None, **values: Any) -> str:
    """The sentence behind `key`, with `values` filled in. A key that is missing is a bug and raises KeyError.

    A value that is itself words is given in every language: {"en": ..., "zh": ...}.
    """
    lang = lang or language()
    said = {name: value[lang] if isinstance(value, dict) and lang in value else value for name, value in values.items()}
    sentences = _sentences(lang)
    sentence = (sentences.get(f"served.{key}") if _served.get() else None) or sentences[key]
    return sentence.format(**said)


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


@cache
def _sentences(lang: str) -> dict[str, str]:
    text = Path(__file__).with_name(f"{lang}.json").read_text(encoding="utf-8")
    sentences: dict[str, str] = json.loads(text)
    return sentences


@cache
def _of_system() -> str:
    name = locale.getlocale()[0] or ""
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"
