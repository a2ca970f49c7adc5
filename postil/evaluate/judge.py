"""A judge model compares two answers to each question, in both orders, and says which is better.

Whoever is shown first is often liked better; so each pair is shown twice, the other way round the second time. Only
what is said both times counts as a preference; if the two differ, the question is undecided, and how often they agree
is told. What the judge said is kept in a file line by line, so that a run that was broken off goes on where it stood.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Protocol

from postil.errors import DataError, PlanError
from postil.evaluate.metrics import visible
from postil.evaluate.said import Said, understood
from postil.evaluate.verdict import preference
from postil.locales import say
from postil.records import Kind, Message, Preference

Tell = Callable[[int, int], None]  # judgements made, and how many there will be
SLOTS = ("criteria", "question", "reference", "a", "b")
NEEDED = ("question", "a", "b")
MOST_PROMPT = 20_000  # characters


class Judge(Protocol):
    """Who compares: a model of ours, or one at an address that the settings name."""

    name: str
    at_once: int  # how many questions may be under way

    def ask(self, messages: tuple[Message, ...]) -> str:
        """The judge's answer, deterministic where it can be. Raises EngineError."""
        ...


class InMemoryJudge:
    """The twin: says what it is told to."""

    def __init__(self, says: Callable[[str], str], at_once: int = 1) -> None:
        self.name, self.at_once, self._says = "memory", at_once, says
        self.asked: list[str] = []

    def ask(self, messages: tuple[Message, ...]) -> str:
        self.asked.append(messages[-1].content)
        return self._says(messages[-1].content)


class LocalJudge:
    """A base model on this machine, by the engine's client: `answer` is what it says to messages."""

    def __init__(self, name: str, answer: Callable[[tuple[Message, ...]], str], at_once: int = 4) -> None:
        self.name, self.at_once, self._answer = name, at_once, answer

    def ask(self, messages: tuple[Message, ...]) -> str:
        return self._answer(messages)


@dataclass(frozen=True)
class Brief:
    """What a judge is told. The prompt has slots: {criteria} {question} {reference} {a} {b}; the last two and the
    question are needed. Raises PlanError `judge_prompt_incomplete`, `judge_prompt_too_long`."""

    prompt: str
    criteria: str

    def __post_init__(self) -> None:
        missing = [f"{{{name}}}" for name in NEEDED if f"{{{name}}}" not in self.prompt]
        if missing:
            raise PlanError("judge_prompt_incomplete", missing=" ".join(missing))
        if len(self.prompt) + len(self.criteria) > MOST_PROMPT:
            raise PlanError("judge_prompt_too_long", most=MOST_PROMPT)

    def messages(self, question: str, reference: str, a: str, b: str) -> tuple[Message, ...]:
        """The prompt with its slots filled; what fills them is never looked through for slots again."""
        values = {"criteria": self.criteria, "question": question, "reference": reference or "-", "a": a, "b": b}
        slot = re.compile(r"\{(" + "|".join(SLOTS) + r")\}")
        return (Message("user", slot.sub(lambda found: values[found[1]], self.prompt)),)


def default_brief(kind: Kind, lang: str | None = None, *, prompt: str = "", criteria: str = "") -> Brief:
    """The prompt and the criteria for this kind of data, or the user's own in their place."""
    slots = {name: f"{{{name}}}" for name in SLOTS}
    return Brief(prompt.strip() or say("judge.prompt", lang, **slots),
                 criteria.strip() or say(f"judge.criteria.{kind}", lang))  # fmt: skip


# ── judging ──


@dataclass(frozen=True)
class JudgedRow:
    """One question: what both looks said. side: tuned, base or same; None: neither look was to be understood.

    agreed: both looks said the same; None when one of them was not to be understood.
    """

    row: int
    side: Literal["tuned", "base", "same"] | None
    agreed: bool | None
    base_mark: float | None
    tuned_mark: float | None
    reason: str
    looks: tuple[str | None, str | None]  # what was said with the base on the left, and with the tuned on the left


@dataclass(frozen=True)
class Judgement:
    """What a judge said of two sets of answers.

    agreement: share of questions on which both orders agree; first_share: how often the answer shown first was liked
    better, of the looks that preferred one (0.5 is fair); unclear: questions that count for nothing.
    """

    judge: str
    preference: Preference
    agreement: float | None
    first_share: float | None
    unclear: int
    base_mark: float | None
    tuned_mark: float | None
    rows: tuple[JudgedRow, ...]
    prompt: str = ""
    criteria: str = ""

    def words(self, lang: str | None = None) -> str:
        """The outcome, and how far the judge can be believed."""
        parts = [self.preference.words(lang)]
        if self.agreement is not None:
            parts.append(say("judge.agreement", lang, percent=round(100 * self.agreement)))
            if self.agreement < 0.6:
                parts.append(say("judge.doubtful", lang))
        if self.unclear:
            parts.append(say("judge.unclear", lang, n=self.unclear))
        return " ".join(parts)

    def as_json(self) -> dict[str, Any]:
        told = {**asdict(self), "preference": self.preference.as_json(), "words": self.words()}
        return {**told, "rows": [asdict(row) for row in self.rows]}


def judged(rows: Sequence[Mapping[str, Any]], judge: Judge, brief: Brief, notes: Path | None = None,
           tell: Tell = lambda done, of: None) -> Judgement:  # fmt: skip
    """Let `judge` compare "base" and "tuned" of each row, twice. rows: {"question", "reference", "base", "tuned"}.

    notes: where each judgement is written down as it comes; a second call with the same rows, judge and brief asks only
    for what is missing. Rows with equal answers are not asked: they are the same.
    Raises DataError `nothing_to_judge`, and what the judge raises.
    """
    if not rows:
        raise DataError("nothing_to_judge")
    wanted = [(row, turned) for row in range(len(rows)) if not _equal(rows[row]) for turned in (False, True)]
    with Notes(notes, _fingerprint(rows, judge, brief)) as book:
        left = [look for look in wanted if look not in book.said]
        done = len(wanted) - len(left)
        tell(done, len(wanted))

        def look(place: tuple[int, bool]) -> tuple[tuple[int, bool], str]:
            return place, judge.ask(_prompt(rows[place[0]], brief, place[1]))

        for place, text in _at_once(look, left, judge.at_once):
            book.write(place, text)
            done += 1
            tell(done, len(wanted))
        said = {place: understood(text) for place, text in book.said.items()}
    return _summed(rows, judge.name, brief, said)


def _prompt(row: Mapping[str, Any], brief: Brief, turned: bool) -> tuple[Message, ...]:
    first, second = ("tuned", "base") if turned else ("base", "tuned")
    return brief.messages(str(row["question"]), visible(str(row.get("reference", ""))), visible(str(row[first])),
                          visible(str(row[second])))  # fmt: skip


def _equal(row: Mapping[str, Any]) -> bool:
    return visible(str(row["base"])) == visible(str(row["tuned"]))


def _at_once(look: Callable[[tuple[int, bool]], tuple[tuple[int, bool], str]], places: Sequence[tuple[int, bool]],
             count: int) -> Iterator[tuple[tuple[int, bool], str]]:  # fmt: skip
    """A few at a time, in order. When one fails, those that have not begun are not begun."""
    with ThreadPoolExecutor(max(1, count)) as pool:
        for start in range(0, len(places), max(1, count)):
            yield from pool.map(look, places[start : start + max(1, count)])


def _summed(rows: Sequence[Mapping[str, Any]], name: str, brief: Brief, said: Mapping[tuple[int, bool], Said]
            ) -> Judgement:  # fmt: skip
    found = tuple(_row(i, row, said) for i, row in enumerate(rows))
    sides = [row.side for row in found]
    asked = [row.agreed for row in found if row.agreed is not None and any(row.looks)]
    liked = [one.side for one in said.values() if one.side in ("a", "b")]
    marks = [(r.base_mark, r.tuned_mark) for r in found if r.base_mark is not None and r.tuned_mark is not None]
    return Judgement(
        name, preference(sides.count("tuned"), sides.count("base"), sides.count("same")),
        sum(asked) / len(asked) if asked else None, liked.count("a") / len(liked) if liked else None,
        sides.count(None), fmean(base for base, _ in marks) if marks else None,
        fmean(tuned for _, tuned in marks) if marks else None, found, brief.prompt, brief.criteria,
    )  # fmt: skip


def _row(i: int, row: Mapping[str, Any], said: Mapping[tuple[int, bool], Said]) -> JudgedRow:
    if _equal(row):
        return JudgedRow(i, "same", True, None, None, "", (None, None))
    plain, turned = said[(i, False)], said[(i, True)]
    first = {"a": "base", "b": "tuned", "same": "same", None: None}[plain.side]
    second = {"a": "tuned", "b": "base", "same": "same", None: None}[turned.side]
    known = [one for one in (first, second) if one is not None]
    side: Any = None if len(known) < 2 else known[0] if known[0] == known[1] else "same"
    return JudgedRow(
        i, side, first == second if len(known) == 2 else None, _mean(plain.mark_a, turned.mark_b),
        _mean(plain.mark_b, turned.mark_a), plain.reason or turned.reason, (first, second),
    )  # fmt: skip


def _mean(*marks: float | None) -> float | None:
    known = [mark for mark in marks if mark is not None]
    return fmean(known) if known else None


# ── what was said already ──


class Notes:
    """The file in which each judgement stands as soon as it is made; in memory alone when there is no file."""

    def __init__(self, file: Path | None, fingerprint: str) -> None:
        self._path, self._fingerprint = file, fingerprint
        self.said: dict[tuple[int, bool], str] = {}
        self._file: Any = None

    def __enter__(self) -> Notes:
        if self._path is not None:
            kept = self._read()
            self._file = self._path.open("a" if kept else "w", encoding="utf-8")
            if not kept:
                self._line({"judging": self._fingerprint})
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, place: tuple[int, bool], text: str) -> None:
        self.said[place] = text
        if self._file is not None:
            self._line({"row": place[0], "turned": place[1], "said": text})

    def _line(self, told: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(told, ensure_ascii=False) + "\n")
        self._file.flush()

    def _read(self) -> bool:
        """What an earlier run wrote, if of the same rows, judge and brief. A last line without its end is cut."""
        assert self._path is not None
        if not self._path.exists():
            return False
        text = self._path.read_text("utf-8", "replace")
        whole = text[: text.rfind("\n") + 1]
        lines = [json.loads(line) for line in whole.split("\n") if line]
        if not lines or lines[0].get("judging") != self._fingerprint:
            return False
        if whole != text:
            self._path.write_text(whole, "utf-8")
        self.said = {(line["row"], line["turned"]): line["said"] for line in lines[1:]}
        return True


def _fingerprint(rows: Sequence[Mapping[str, Any]], judge: Judge, brief: Brief) -> str:
    told = [judge.name, brief.prompt, brief.criteria]
    told += [str(row.get(name, "")) for row in rows for name in ("question", "reference", "base", "tuned")]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
