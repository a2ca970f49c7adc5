"""What base and tuned answer, and which of them is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from postil.locales import say

LEANING = 0.05  # of a score; less is no lead
FITS = 0.05  # chance that answers fit their questions this well by luck, at most


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `stopped`: the model ended by itself, not by the limit of new tokens. `chances`: where it chose among
    labels, the likeliest of them with their probabilities, the likeliest first."""

    text: str
    tokens: int
    stopped: bool
    chances: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """better | no_difference | worse | too_few, on the one metric that the plan fixed, with a 95 % interval."""

    outcome: Literal["better", "no_difference", "worse", "too_few"]
    metric: str
    difference: float
    interval: tuple[float, float]
    n: int
    p_value: float | None = None

    def words(self, lang: str | None = None) -> str:
        """The verdict in a sentence: differences in percentage points, for loss in nats."""
        unit, scale, digits = (".loss", 1, 3) if self.metric == "loss" else ("", 100, 1)
        # + 0.0: nobody wants to read "-0.0"
        difference, low, high = (round(scale * value, digits) + 0.0 for value in (self.difference, *self.interval))
        return say(
            f"verdict.{self.outcome}{unit}",
            lang,
            metric=say(f"metric.{self.metric}", lang),
            n=self.n,
            difference=difference,
            low=low,
            high=high,
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "words": self.words()}


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the tuned model's answers can be used, whatever the base would have said: not_yet | try_out | ready.

    right: answers that are right, or close enough for their kind of data; None where nothing but a reader can tell.
    near: others that are almost right. cut: did not end by themselves; empty: no words; repeated: the same piece over
    and over. chance: the probability that answers fit their questions this well though they belong to any question
    (see `evaluate/readiness.py`); None: too few or too equal to tell. All numbers are of `n` questions.
    """

    level: Literal["not_yet", "try_out", "ready"]
    n: int
    right: int | None
    near: int
    cut: int
    empty: int
    repeated: int
    chance: float | None = None
    exact: bool = True  # whether "right" means equal; else: with most of the words

    def words(self, lang: str | None = None) -> str:
        """The level, and what people can count: of 20 questions so many right, so many not finished."""
        counted = "readiness.of_none" if self.right is None else "readiness.of" if self.exact else "readiness.of_close"
        counts = say(counted, lang, n=self.n, right=self.right)
        problems = {"near": self.near, "cut": self.cut, "empty": self.empty, "repeated": self.repeated}
        for name, number in problems.items():
            counts = say(f"readiness.{name}", lang, counts=counts, n=number) if number else counts
        if self.fits is False:
            counts = say("readiness.unfit", lang, counts=counts)
        return say(f"readiness.{self.level}", lang, counts=counts)

    @property
    def fits(self) -> bool | None:
        """Whether the answers belong to their questions; None: cannot be told."""
        return None if self.chance is None else self.chance <= FITS

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "words": self.words()}


@dataclass(frozen=True, slots=True)
class Preference:
    """How often the tuned answer was preferred: questions won, lost and undecided.

    win_rate counts an undecided question as half; `interval` is its 95 % interval; 0.5 means that neither is better.
    """

    outcome: Literal["better", "no_difference", "worse", "too_few"]
    won: int
    lost: int
    tied: int
    win_rate: float
    interval: tuple[float, float]
    p_value: float

    @property
    def n(self) -> int:
        return self.won + self.lost + self.tied

    def words(self, lang: str | None = None) -> str:
        """The outcome in a sentence, rates in percent."""
        rate, low, high = (round(100 * value, 1) for value in (self.win_rate, *self.interval))
        return say(
            f"preference.{self.outcome}",
            lang,
            n=self.n,
            won=self.won,
            lost=self.lost,
            tied=self.tied,
            rate=rate,
            low=low,
            high=high,
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "n": self.n, "words": self.words()}


def _leaning(verdict: Verdict) -> str:
    """The outcome; "leaning" where the tuned model is clearly ahead and too few questions were asked to be sure."""
    ahead = verdict.outcome == "no_difference" and verdict.difference >= LEANING
    return "leaning" if ahead else verdict.outcome


@dataclass(frozen=True, slots=True)
class Confusion:
    """counts[i][j]: how often what should have been labels[i] was given as labels[j], by the tuned model."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """Base and tuned on the same questions: their metrics, and in `rows` each question with both answers.

    others: what plain means without a language model reach on them, by name (tfidf, majority); against: the verdict on
    the tuned model against each of them; confusion: where the task has labels.
    """

    base: Mapping[str, float]
    tuned: Mapping[str, float]
    verdict: Verdict
    forgetting: float | None  # change of the loss on neutral text, in nats per token
    rows: tuple[Mapping[str, Any], ...] = ()
    others: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    against: Mapping[str, Verdict] = field(default_factory=dict)
    confusion: Confusion | None = None
    readiness: Readiness | None = None  # None: made before there were levels, or a task that gives no answers

    @property
    def learned(self) -> int:
        """How many of the questions stand in the rows that the model was trained on: they prove nothing of new ones."""
        return sum(bool(row.get("learned")) for row in self.rows)

    def against_words(self, lang: str | None = None) -> list[str]:
        """What the comparison with each of the plain means says, in a sentence: also that they would do as well."""
        return [
            say(
                f"against.{name}.{_leaning(one)}",
                lang,
                metric=say(f"metric.{one.metric}", lang),
                n=one.n,
                theirs=100 * self.others[name].get(one.metric, 0.0),
                tuned=100 * self.tuned.get(one.metric, 0.0),
            )
            for name, one in self.against.items()
        ]

    def judged(self) -> dict[str, Any]:
        """What stands of it in a result: verdict, level and forgetting."""
        level = self.readiness.as_json() if self.readiness else None
        return {"verdict": self.verdict.as_json(), "readiness": level, "forgetting": self.forgetting}

    def as_json(self) -> dict[str, Any]:
        content: dict[str, Any] = {"base": dict(self.base), "tuned": dict(self.tuned), **self.judged()}
        content["rows"] = [dict(row) for row in self.rows]
        if self.others:
            content["others"] = {name: dict(scores) for name, scores in self.others.items()}
            content["against"] = {name: one.as_json() for name, one in self.against.items()}
        if self.confusion:
            content["confusion"] = self.confusion.as_json()
        return content
