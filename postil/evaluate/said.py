"""What a judge meant: one object of JSON is asked for, but small models say it in many ways, in two languages."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from postil.evaluate.metrics import visible

Side = Literal["a", "b", "same"]
REASON = 500  # characters that are kept of what a judge said


@dataclass(frozen=True)
class Said:
    """One judgement: the better side (None: not to be understood), marks from 1 to 10 if it gave any, and why."""

    side: Side | None
    mark_a: float | None = None
    mark_b: float | None = None
    reason: str = ""


_WORD = {"a": "a", "b": "b", "甲": "a", "乙": "b", "same": "same", "tie": "same", "draw": "same", "equal": "same",
         "both": "same", "neither": "same", "一样": "same", "相同": "same", "平局": "same", "平": "same",
         "差不多": "same"}  # fmt: skip
_LOOKED_AT = 20_000  # characters of what a judge said
_SPACE, _OPEN, _CLOSE = r"\s{0,5}", r"[\"'“*\[(（【]{0,4}", r"[\"'”*\])）】]{0,4}"  # bounded: nobody can make them slow
_ANSWER = rf"(?:(?:the|answer|response|assistant|回答|答案|选项){_SPACE})?"
_NAMED = r"(a|b|甲|乙|same|tie|draw|equal|both|neither|一样|相同|平局|平|差不多)(?![a-z])"
_LABELLED = re.compile(
    rf"(?:verdict|winner|better|best|choice|preferred|结论|裁决|判定|胜者|胜出|更好的?|选择|我选){_SPACE}"
    rf"(?:answer|response|one|回答|答案)?{_SPACE}(?:is|:|：|=|是|为|的是)?{_SPACE}{_OPEN}{_SPACE}{_ANSWER}{_OPEN}{_NAMED}"
    rf"(?!{_CLOSE}{_SPACE}(?:,|/|\||、|or\b|或))",  # the list of choices, said over again
    re.I,
)
_BETTER = re.compile(
    rf"{_ANSWER}(?<![a-z])(a|b|甲|乙){_SPACE}{_CLOSE}{_SPACE}"
    rf"(?:is\s{{1,5}}(?:clearly\s{{1,5}}|slightly\s{{1,5}}|much\s{{1,5}})?better|wins|更好|更优|胜|较好|好一些)",
    re.I,
)
_ANSWERED = re.compile(rf"(?:answer|答案){_SPACE}(?:is|:|：|是|为){_SPACE}{_OPEN}{_NAMED}", re.I)
_BRACKETED = re.compile(r"\[\[\s*(a|b|c|tie|same)\s*\]\]", re.I)
_ALONE = re.compile(r"[\s\"'“*\[(（【]*" + _ANSWER + _NAMED + r"[\s\"'”*\])）】.。!！]*\Z", re.I)
_BRACES = re.compile(r"\{[^{}]*\}")


def understood(text: str) -> Said:
    """What a judge meant. It was asked for one object of JSON; small models say it in other ways."""
    shown = visible(text)[-_LOOKED_AT:]
    for found in reversed(_BRACES.findall(shown)):
        told = _object(found)
        if told is not None:
            return told
    reason = shown.strip()[:REASON]
    for pattern in (_BRACKETED, _LABELLED, _ANSWERED, _BETTER):
        named = [one.lower() for one in pattern.findall(shown)]
        if named:
            return Said(_word(named[-1]), reason=reason)
    for line in (shown.strip().split("\n")[0], shown.strip().rpartition("\n")[2]):
        alone = _ALONE.match(line)
        if alone:
            return Said(_word(alone[1]), reason=reason)
    return Said(None, reason=reason)


def _word(name: str) -> Side | None:
    return "same" if name.lower() == "c" else _WORD.get(name.lower())  # type: ignore[return-value]


def _object(text: str) -> Said | None:
    try:
        told = json.loads(text)
    except ValueError:
        return None
    lower = {str(name).strip().lower(): value for name, value in told.items()} if isinstance(told, dict) else {}
    marks = [_mark(lower.get(name)) for name in ("a", "b")]
    named = next((str(lower[name]) for name in ("verdict", "better", "winner", "结论") if name in lower), "")
    alone = _ALONE.match(named.strip())
    side = _word(alone[1]) if alone else None
    if side is None and marks[0] is not None and marks[1] is not None:
        side = "a" if marks[0] > marks[1] else "b" if marks[1] > marks[0] else "same"
    if side is None:
        return None
    reason = next((str(lower[name]) for name in ("reason", "why", "理由") if name in lower), "")
    return Said(side, marks[0], marks[1], reason[:REASON])


def _mark(value: Any) -> float | None:
    """A mark from 1 to 10; what is no number in that range is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number <= 10 else None
