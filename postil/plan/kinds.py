"""What kind of task is this? Told from the form of the answers alone: no list of words, any language."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from postil.locales import LANGUAGES, say
from postil.model.fields import Fields, read_fields
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
CLOSED = 0.34  # distinct answers per answer: a closed set, of which each comes three times
COPIED = 0.5  # share of answers that stand in their question, or half of whose units do
SHARED = 0.8  # share of the units of an answer that stand in its question: a part of it, said in its words
FORMED = 0.6  # share of answers of one closed form: JSON, columns, pairs, a list, a number, a code
KEPT = (0.4, 3.0)  # times as long as the question: the same in another form
MANY_FIELDS = ("json", "columns", "pairs")  # closed forms that hold more than one thing
EVEN = 0.4  # (third quartile - first) / median of that ratio: answers grow with their questions
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
    form: str  # the closed form of most answers, "" where they have none
    shared: float  # of the units of an answer, how many stand in its question
    ratio: float  # units of an answer over those of its question, median
    spread: float  # of that ratio: (third quartile - first) / median


def kind_of(examples: Sequence[Example]) -> tuple[Kind, str, Mapping[str, Any]]:
    """The kind of data, with the code and the values of the reason."""
    form = form_of(examples)
    values = {
        "length": round(form.length), "copied": round(100 * form.copied), "asked": round(100 * form.asked),
        "turns": round(100 * form.multi_turn), "distinct": round(100 * form.distinct), "ratio": f"{form.ratio:.1f}",
        "form": {lang: say(f"form.{form.form}", lang) for lang in LANGUAGES} if form.form else "",
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
    ratios = sorted(units(answer) / max(1, units(question)) for question, answer in pairs) or [0.0]
    middle = median(ratios)
    return Form(
        multi_turn=_share(sum(m.role == "assistant" for m in example.messages) > 1 for example in sample),
        length=median([units(answer) for answer in answers] or [0]),
        distinct=len(Counter(map(_folded, answers))) / max(1, len(answers)),
        copied=_share(bool(answer) and _folded(answer) in _folded(question) for question, answer in pairs),
        asked=_share("?" in question or "？" in question or "؟" in question for question in questions),
        decorated=_share(bool(_DECORATED.search(answer)) for answer in answers),
        form=_form(answers),
        shared=fmean([_shared(question, answer) for question, answer in pairs] or [0.0]),
        ratio=middle,
        spread=(ratios[3 * len(ratios) // 4] - ratios[len(ratios) // 4]) / max(1e-9, middle),
    )


def _form(answers: Sequence[str]) -> str:
    """The closed form that most answers have alike: the same keys, or as many columns; "" where they have none."""
    fields = [one for one in map(read_fields, answers) if one is not None]
    alike = Counter((one.form, _skeleton(one)) for one in fields)
    by_form = Counter(one.form for one in fields)
    for form, count in by_form.most_common(1):
        most = max(number for (name, _), number in alike.items() if name == form)
        same = count if form in ("json", "list", "number", "code") else most
        if same >= FORMED * len(answers):
            return form
    return ""


def _skeleton(fields: Fields) -> str:
    """What answers of one form have in common: their keys. A key that comes and goes is no other form."""
    return min(fields.keys, default="") if fields.form == "pairs" else " ".join(sorted(fields.keys))


def _shared(question: str, answer: str) -> float:
    """The share of the units of an answer that stand in its question [0..1]."""
    said, there = Counter(_units_of(answer)), Counter(_units_of(question))
    return (said & there).total() / max(1, said.total())


def _units_of(text: str) -> list[str]:
    return [unit.casefold() for unit in _UNIT.findall(text)]


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
    if form.length <= SHORT and form.distinct <= CLOSED and form.form not in MANY_FIELDS:
        return "extraction", "kind_closed"
    if form.form and form.form != "list":
        return "extraction", "kind_structured"
    if form.length <= BRIEF and form.copied >= COPIED:
        return "extraction", "kind_copied"
    if form.length <= PROSE and form.shared >= SHARED:
        return "extraction", "kind_copied"
    if form.form == "list" and form.length <= BRIEF:
        return "extraction", "kind_structured"
    if form.asked >= ASKED:
        return ("consulting", "kind_consulting") if form.length >= LONG else ("service_qa", "kind_service")
    if form.length <= SHORT:
        return "extraction", "kind_short"
    if form.length <= PROSE and KEPT[0] <= form.ratio <= KEPT[1] and form.spread <= EVEN:
        return "extraction", "kind_rewritten"
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
