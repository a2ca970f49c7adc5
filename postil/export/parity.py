"""The certificate: the trainer and a target are given the same questions, and the target must say the same.

First the tokens of the prompt, then the tokens of the greedy answer and how likely they are. A target that differs is
told why: its prompt (template, system prompt, start token, tokenizer), its end token, or its numbers (number type,
quantization, other weights). That the numbers differ for rounding is not assumed but tried: the trainer's own weights
are rounded like the target's, and only if that moves the trainer as far is it the cause.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from postil.locales import say
from postil.records import Message

Question = Sequence[Message]
Cause = Literal["template", "system_prompt", "bos", "tokenizer", "end_token", "dtype", "quantization", "weights"]
ORDER: tuple[Cause, ...] = ("bos", "system_prompt", "template", "tokenizer", "end_token", "quantization", "dtype",
                            "weights")  # fmt: skip

# Nats by which the log probability of a likely token may differ, by the number type that was asked for. Each is about
# twice what rounding did to the demonstration model with a trained adapter on 12 prompts (`bench.py parity`): 0.0000 in
# float32, 0.049 in float16 (0.023 as GGUF), 0.597 in bfloat16, 0.726 in q8_0. A small model feels it most.
TOLERANCE = {"float32": 0.02, "float16": 0.1, "bfloat16": 1.2, "q8_0": 1.5}
FLOATS = ("float32", "float16", "bfloat16")
COARSE = 1.5  # of fewer bits: in q4_0 it was 2.88, 5 of 12 answers alike, and that is to be told
LIKELY = math.log(0.01)  # tokens less likely than this are not looked at
EXPLAINED = 4.0  # times what rounding alone did to the trainer
MARK = "POSTILSYSTEM"


@dataclass(frozen=True, slots=True)
class Said:
    """A greedy answer. tokens: with the one that ended it; top: for each, likely tokens and their log probabilities.

    Tokens are ids, or their texts where a door tells no ids.
    """

    tokens: tuple[Hashable, ...]
    top: tuple[Mapping[Any, float], ...]
    ended: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a question is put. text: before it became tokens, None where a door does not tell."""

    ids: tuple[int, ...]
    text: str | None = None


class Door(Protocol):
    """One way to the model: a library, an engine, a file in llama.cpp."""

    name: str
    stops: frozenset[int] | None  # tokens at which it ends an answer; None: it does not tell
    dtype: str  # in which it holds its weights: float32, bfloat16, q8_0, ...

    def prompts(self, questions: Sequence[Question]) -> list[Prompt]:
        """The prompts of these questions, by the door's own template."""
        ...

    def say(self, prompts: Sequence[Sequence[int]], new: int) -> list[Said]:
        """Greedy answers to these prompts, of at most `new` tokens."""
        ...


class Trainer(Door, Protocol):
    """The model as it was trained and measured."""

    start: int | None  # the token that begins a text
    end: int | None  # the token that ends an answer, which was learned
    templated: Callable[[Question, str | None], str]  # the prompt with another system prompt; None: without

    def word(self, token: int) -> str:
        """The text of one token."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One question: whether the prompts are the same, at which token the answers part, how far numbers differ."""

    question: str
    cause: Cause | None
    parts_at: int | None = None  # token of the answer
    tie: bool = False  # they part where two tokens are as likely as makes no difference
    difference: float = 0.0  # nats
    tokens: int = 0  # compared
    trainer: str = ""
    target: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"question": self.question, "cause": self.cause, "parts_at": self.parts_at, "tie": self.tie,
                "difference": round(self.difference, 6), "tokens": self.tokens, "trainer": self.trainer,
                "target": self.target}  # fmt: skip


@dataclass(frozen=True)
class Certificate:
    """Whether a target says what the trainer says, and if not, why."""

    door: str
    outcome: Literal["pass", "fail"]
    cause: Cause | None
    dtype: str
    tolerance: float
    rows: tuple[Row, ...]
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def difference(self) -> float:
        return max((row.difference for row in self.rows), default=0.0)

    @property
    def _why(self) -> str:
        """The cause as it is explained: the few bits may be the target's, or the trainer's base's."""
        return f"{self.cause}_of_base" if self.cause == "quantization" and self.dtype in FLOATS else str(self.cause)

    def lines(self, lang: str | None = None) -> list[str]:
        """What it says to a person."""
        same = sum(row.cause is None and row.parts_at is None for row in self.rows)
        told = {"door": self.door, "n": len(self.rows), "same": same, "tokens": sum(row.tokens for row in self.rows),
                "difference": f"{self.difference:.4f}", "tolerance": self.tolerance}  # fmt: skip
        if self.cause is None:
            ties = sum(row.tie for row in self.rows)
            return [say("parity.pass", lang, **told), *([say("parity.ties", lang, n=ties)] if ties else [])]
        first = next(row for row in self.rows if row.cause == self.cause)
        return [
            say("parity.fail", lang, **told),
            say(f"parity.cause.{self._why}", lang, dtype=self.dtype, **_shown(self.details)),
            say(f"parity.remedy.{self._why}", lang),
            say("parity.first", lang, question=_short(first.question), trainer=_short(first.trainer),
                target=_short(first.target)),
        ]  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return {
            "door": self.door, "outcome": self.outcome, "cause": self.cause, "dtype": self.dtype,
            "tolerance": self.tolerance, "difference": round(self.difference, 6), "questions": len(self.rows),
            "same": sum(row.cause is None and row.parts_at is None for row in self.rows),
            "ties": sum(row.tie for row in self.rows), "details": dict(self.details),
            "rows": [row.as_json() for row in self.rows], "words": self.lines(),
        }  # fmt: skip


Rounded = Callable[[str], Trainer]  # the trainer with its weights rounded to this number type


def certify(
    trainer: Callable[[], Trainer], door: Callable[[], Door], questions: Sequence[Question], *, asked: str,
    rounded: Rounded, new: int = 48,
) -> Certificate:  # fmt: skip
    """Hold a target against the trainer. asked: the number type that the target was to have.

    The two are opened one after the other, so that only one model is in memory at a time.
    """
    first = trainer()
    prompts = first.prompts(questions)
    facts = _Facts(first, questions, prompts, TOLERANCE.get(asked, COARSE))
    said = first.say([prompt.ids for prompt in prompts], new)
    del first
    second = door()
    theirs = second.prompts(questions)
    causes = [facts.prompt_cause(i, their) for i, their in enumerate(theirs)]
    answers: list[Said] = []
    if not any(causes):  # another prompt would make any answer another
        answers = second.say([prompt.ids for prompt in theirs], new)
    name, dtype, stops = second.name, second.dtype, second.stops
    del second
    rows = [facts.row(i, causes[i], theirs[i], said[i], answers[i] if answers else None) for i in range(len(questions))]
    if not any(causes) and facts.end is not None and stops is not None and facts.end not in stops:
        rows = [facts.with_cause(row, "end_token") for row in rows]
    if any(row.cause == "weights" for row in rows):
        rows = _named(rows, facts, said, rounded, prompts, dtype, asked, new)
    found = [row.cause for row in rows if row.cause]
    cause = min(found, key=ORDER.index) if found else None
    details = facts.details(cause, [row.cause for row in rows].index(cause), theirs) if cause else {}
    return Certificate(name, "fail" if cause else "pass", cause, dtype, facts.tolerance, tuple(rows), details)


def _named(rows: Sequence[Row], facts: _Facts, said: Sequence[Said], rounded: Rounded, prompts: Sequence[Prompt],
           dtype: str, asked: str, new: int) -> list[Row]:  # fmt: skip
    """Rows whose numbers differ, with the reason: rounding, if that alone moves the trainer as far."""
    if dtype == facts.dtype:
        return list(rows)
    coarse = rounded(dtype)
    again = coarse.say([prompt.ids for prompt in prompts], new)
    moved = max(facts.numbers(a, b)[2] for a, b in zip(said, again, strict=True))
    name: Cause = "dtype" if {dtype, facts.dtype} <= set(FLOATS) else "quantization"
    largest = max(row.difference for row in rows)
    if largest > EXPLAINED * moved + facts.tolerance / 4:
        return list(rows)
    return [facts.with_cause(row, name) if row.cause == "weights" else row for row in rows]


class _Facts:
    """What is known of the trainer, kept while the target is in memory."""

    def __init__(self, trainer: Trainer, questions: Sequence[Question], prompts: Sequence[Prompt], tolerance: float
                 ) -> None:  # fmt: skip
        self.tolerance, self.dtype, self.end = tolerance, trainer.dtype, trainer.end
        self._start, self._stops, self._word = trainer.start, trainer.stops or frozenset(), trainer.word
        self._questions, self._prompts = questions, prompts
        self._templated = trainer.templated

    # ── prompts ──

    def prompt_cause(self, i: int, theirs: Prompt) -> Cause | None:
        """Why the prompt of question `i` is another one; None if it is the same."""
        ours = self._prompts[i]
        if theirs.ids == ours.ids:
            return None
        if self._bare(theirs.ids) == self._bare(ours.ids):
            return "bos"
        if theirs.text is None or ours.text is None:
            return "template"
        text, own = self._without_start(theirs.text), self._without_start(ours.text)
        if text == own:
            return "tokenizer"
        return "system_prompt" if self._only_system_differs(i, text) else "template"

    def _only_system_differs(self, i: int, text: str) -> bool:
        """Whether `text` is what our template writes of question `i` with another system prompt, or with none."""
        question = self._questions[i]
        if text == self._without_start(self._templated(question, None)):
            return True
        marked = self._without_start(self._templated(question, MARK))
        before, found, after = marked.partition(MARK)
        fits = len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)
        return bool(found) and fits

    def _bare(self, ids: Sequence[int]) -> Sequence[int]:
        """Without start tokens."""
        count = next((i for i, token in enumerate(ids) if token != self._start), len(ids))
        return ids[count:] if self._start is not None else ids

    def _without_start(self, text: str) -> str:
        word = self._word(self._start) if self._start is not None else ""
        while word and text.startswith(word):
            text = text.removeprefix(word)
        return text

    # ── answers ──

    def _in_words(self, said: Said) -> Said:
        """The same for a door that tells texts of tokens."""
        tops = (clear([(self._word(token), chance) for token, chance in top.items()]) for top in said.top)
        return Said(
            tuple(self._word(token) for token in said.tokens if isinstance(token, int)), tuple(tops), said.ended
        )

    def row(self, i: int, cause: Cause | None, theirs: Prompt, ours: Said, said: Said | None) -> Row:
        question = next((m.content for m in reversed(self._questions[i]) if m.role == "user"), "")
        if cause or said is None:
            own = self._prompts[i]
            texts = (own.text or "", theirs.text or "") if cause != "tokenizer" else (str(own.ids), str(theirs.ids))
            return Row(question, cause, trainer=texts[0], target=texts[1])
        if said.tokens and isinstance(said.tokens[0], str):
            ours = self._in_words(ours)
        parts_at, tie, difference, tokens = self.numbers(ours, said)
        texts = self._text(ours.tokens), self._text(said.tokens)
        if self._end_differs(ours, said, parts_at):
            return Row(question, "end_token", parts_at, False, difference, tokens, *texts)
        wrong = (parts_at is not None and not tie) or difference > self.tolerance
        return Row(question, "weights" if wrong else None, parts_at, tie, difference, tokens, *texts)

    def with_cause(self, row: Row, cause: Cause) -> Row:
        return Row(row.question, cause, row.parts_at, row.tie, row.difference, row.tokens, row.trainer, row.target)

    def numbers(self, ours: Said, theirs: Said) -> tuple[int | None, bool, float, int]:
        """(where the answers part, whether as a tie, largest difference in nats until then, tokens compared)."""
        largest, compared = 0.0, 0
        for place, (mine, other) in enumerate(zip(ours.tokens, theirs.tokens, strict=False)):
            top, told = ours.top[place], theirs.top[place]
            likely = [token for token, chance in top.items() if chance > LIKELY and token in told]
            largest = max([largest, *(abs(top[token] - told[token]) for token in likely)])
            compared += 1
            if mine != other:
                gap = top.get(mine, 0.0) - top.get(other, -math.inf)
                return place, gap <= self.tolerance, largest, compared
        if len(ours.tokens) != len(theirs.tokens) and ours.ended != theirs.ended:
            return min(len(ours.tokens), len(theirs.tokens)), False, largest, compared
        return None, False, largest, compared

    def _end_differs(self, ours: Said, theirs: Said, parts_at: int | None) -> bool:
        """Whether one goes on where the other has ended, after the same tokens."""
        shorter = min(len(ours.tokens), len(theirs.tokens))
        return parts_at == shorter and ours.tokens[:shorter] == theirs.tokens[:shorter]

    def _text(self, tokens: Sequence[Hashable]) -> str:
        return "".join(self._word(token) if isinstance(token, int) else str(token) for token in tokens)

    def details(self, cause: Cause, row: int, theirs: Sequence[Prompt]) -> dict[str, Any]:
        """What a person needs to know of the cause."""
        if cause == "bos":
            count = [len(one) - len(self._bare(one)) for one in (self._prompts[row].ids, theirs[row].ids)]
            return {"trainer": count[0], "target": count[1]}
        if cause == "end_token":
            return {"end": self._word(self.end) if self.end is not None else ""}
        return {}


def clear(top: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Texts of tokens with their log probabilities, without those that may stand for several: parts of characters."""
    found: dict[str, list[float]] = {}
    for text, chance in top:
        found.setdefault(text, []).append(chance)
    return {
        text: chances[0]
        for text, chances in found.items()
        if len(chances) == 1 and "\N{REPLACEMENT CHARACTER}" not in text
    }


def _shown(details: Mapping[str, Any]) -> dict[str, Any]:
    return {"trainer": "", "target": "", "end": "", **details}


def _short(text: str, most: int = 160) -> str:
    flat = text.replace("\n", "⏎")
    return flat if len(flat) <= most else flat[: most // 2] + " … " + flat[-most // 2 :]
