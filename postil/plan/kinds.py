"""What kind of task is this? Told from the form of the answers alone: no list of words, any language."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from postil.records import Example, Kind

# One unit is a Chinese, Japanese or Korean character, or a word of another script: comparable amounts of meaning.
_UNIT = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_LETTER = re.compile(r"[^\W\d_]")
_DECORATED = re.compile("[!！~～✨#\U0001f300-\U0001faff\u2600-\u27bf]|\n")
_SAMPLE = 2000  # examples are enough to tell

MULTI_TURN = 0.3  # share of examples with two answers or more
SHORT = 8  # units: a label, a name, a noun phrase
BRIEF = 15  # units: still short when it is copied from the question
CLOSED = 0.2  # distinct answers per answer: a closed set
COPIED = 0.5  # share of answers that stand in their question
ASKED = 0.3  # share of questions with a question mark
LONG = 120  # units: an explanation rather than a fact
PROSE = 40  # units: too long for a fact that nobody asked for


@dataclass(frozen=True, slots=True)
class Form:
    """Shares are 0..1; lengths are units (characters of Chinese, words of English), medians."""

    multi_turn: float
    length: float
    distinct: float
    copied: float
    asked: float
    decorated: float
    structured: float


def kind_of(examples: Sequence[Example]) -> tuple[Kind, str, Mapping[str, Any]]:
    """The kind of data, with the code and the values of the reason."""
    form = form_of(examples)
    values = {
        "length": round(form.length), "copied": round(100 * form.copied), "asked": round(100 * form.asked),
        "turns": round(100 * form.multi_turn), "distinct": round(100 * form.distinct),
    }  # fmt: skip
    kind, reason = _decide(form)
    return kind, reason, values


def form_of(examples: Sequence[Example]) -> Form:
    """The form of (a sample of) the examples."""
    step = max(1, len(examples) // _SAMPLE)
    sample = examples[::step] or examples
    answers = [example.answer.strip() for example in sample]
    questions = [_asked(example) for example in sample]
    pairs = list(zip(questions, answers, strict=True))
    return Form(
        multi_turn=_share(sum(m.role == "assistant" for m in example.messages) > 1 for example in sample),
        length=median([units(answer) for answer in answers] or [0]),
        distinct=len(Counter(map(_folded, answers))) / max(1, len(answers)),
        copied=_share(bool(answer) and _folded(answer) in _folded(question) for question, answer in pairs),
        asked=_share("?" in question or "？" in question for question in questions),
        decorated=_share(bool(_DECORATED.search(answer)) for answer in answers),
        structured=_share(answer[:1] in "{[" and answer[-1:] in "}]" for answer in answers if answer),
    )


def units(text: str) -> int:
    """How much `text` says: characters of Chinese, words of other scripts."""
    return len(_UNIT.findall(text))


def chinese_share(examples: Sequence[Example]) -> float:
    """The share of Chinese characters among the letters of questions and answers [0..1]."""
    step = max(1, len(examples) // _SAMPLE)
    said = (message for example in examples[::step] for message in example.messages if message.role != "system")
    text = "".join(message.content for message in said)
    return len(_CHINESE.findall(text)) / max(1, len(_LETTER.findall(text)))


def _decide(form: Form) -> tuple[Kind, str]:
    if form.multi_turn >= MULTI_TURN:
        return "chat", "kind_chat"
    if form.structured >= 0.5:
        return "extraction", "kind_structured"
    if form.length <= SHORT and form.distinct <= CLOSED:
        return "extraction", "kind_closed"
    if form.length <= BRIEF and form.copied >= COPIED:
        return "extraction", "kind_copied"
    if form.length <= SHORT and form.asked < ASKED:
        return "extraction", "kind_short"
    if form.asked >= ASKED:
        return ("consulting", "kind_consulting") if form.length >= LONG else ("service_qa", "kind_service")
    if form.length >= PROSE or (form.decorated >= 0.4 and form.length > BRIEF):
        return "copywriting", "kind_copywriting"
    return "service_qa", "kind_service"


def _asked(example: Example) -> str:
    """The last message before the answer that is the user's."""
    asked = [message.content for message in example.question if message.role == "user"]
    return asked[-1] if asked else ""


def _folded(text: str) -> str:
    return "".join(text.split()).casefold().rstrip("。.!！")


def _share(facts: Iterable[bool]) -> float:
    found = list(facts)
    return sum(found) / max(1, len(found))
