"""Can the answers be used? Three levels, from shares that people can count; bounds by kind of data in readiness.json.

Better than the base says little where the base knows nothing: a model that never ends an answer can be "better". So
answers are looked at by themselves: whether they end, say anything, say it once, and are right. And whether they belong
to their questions: under a model that has learned only how answers look, each of its answers fits any question as well
as its own. That is tested by dealing the answers out anew (a permutation test; Fisher 1935, The Design of Experiments):
`chance` is the share of deals that fit as well. A model above its bounds that fails this test repeats what is frequent.

A share on few questions proves little, so that below FEWEST_ROWS a bound counts as missed only where even the upper
limit of the share (Clopper and Pearson 1934, one-sided 97.5 %) lies below it; and "ready" asks for that many questions
and a lower limit of the right ones above what "try it out" asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from postil.evaluate.metrics import char_f1, exact_match, visible
from postil.evaluate.verdict import FEWEST_ROWS
from postil.records import FITS, Answer, Kind, Readiness

Level = Literal["not_yet", "try_out", "ready"]
Score = Callable[[str, str], float]
LEVELS: tuple[Level, ...] = ("not_yet", "try_out", "ready")
ONE_SIDE = 0.025
DEALS = 1_999  # of answers to questions; with the one that is, 2,000
MOST_DEALT = 100  # questions: each is compared with each
SEED = 20_260_101
# a piece said four times or more at the end of an answer, and what was begun of a fifth
REPEATED = re.compile(r"(.{1,80}?)\1{3,}.{0,80}$", re.DOTALL)
SHORTEST_REPEATED, LONGEST_LOOKED_AT = 16, 400  # characters: "no, no, no, no" is an answer


@dataclass(frozen=True, slots=True)
class Bounds:
    """From which share on a level is reached, and for "ready" the lower limit of the share of all answers [0..1]."""

    try_out: float
    ready: float
    certain: float = 0.0

    def level(self, hits: int, n: int) -> Level:
        share = hits / n
        low, high = _limits(hits, n)
        if (share if n >= FEWEST_ROWS else high) < self.try_out:
            return "not_yet"
        sure = n >= FEWEST_ROWS and low >= self.certain
        return "ready" if share >= self.ready and sure else "try_out"


@dataclass(frozen=True, slots=True)
class Rightness:
    """When an answer of a kind of data is right. score: exact, words (F1 of the words in common), or none: nothing but
    a reader can tell. near: from which share of common words on it is almost right."""

    score: Literal["exact", "words", "none"]
    bounds: Bounds | None
    right: float = 1.0
    near: float = 1.0


def readiness(
    kind: Kind, references: Sequence[str], answers: Sequence[Answer], own: Sequence[float] | None = None
) -> Readiness | None:
    """The level of the tuned model's answers; None without any.

    own: a score of each row that is 1 where the answer is right, where equal texts are not what counts.
    """
    if not answers:
        return None
    n, wanted, replies = (
        len(answers),
        [visible(text) for text in references],
        [visible(answer.text) for answer in answers],
    )
    rule = _rules()["extraction"] if own is not None else _rules()[kind]
    pairs = list(zip(wanted, replies, strict=True))
    words = [char_f1(*pair) for pair in pairs]
    exact = rule.score == "exact"
    scores = own if own is not None else [exact_match(*pair) for pair in pairs] if exact else words
    right = [score >= rule.right for score in scores]
    near = sum(not whole and score >= rule.near for whole, score in zip(right, words, strict=True))
    cut, empty = sum(not answer.stopped for answer in answers), sum(not text for text in replies)
    repeated = sum(repeats(text) and not repeats(reference) for reference, text in pairs)
    chance = chance_of_fit(wanted, replies)
    bad = {"ended": cut, "filled": empty, "unrepeated": repeated}
    levels = [_answers()[name].level(n - number, n) for name, number in bad.items()]
    levels.append(rule.bounds.level(sum(right) + near, n) if rule.bounds else "try_out")
    levels += ["not_yet"] if chance is not None and chance > FITS else []
    level = min(levels, key=LEVELS.index)
    if rule.bounds is None:
        return Readiness(level, n, None, 0, cut, empty, repeated, chance, exact)
    return Readiness(level, n, sum(right), near, cut, empty, repeated, chance, exact)


def repeats(text: str) -> bool:
    """Whether a text ends by saying one piece over and over."""
    end = text[-LONGEST_LOOKED_AT:]
    seen = REPEATED.search(end)
    return seen is not None and len(seen[0]) >= SHORTEST_REPEATED and len(seen[1].strip()) > 0


def chance_of_fit(references: Sequence[str], answers: Sequence[str], score: Score = char_f1) -> float | None:
    """The share of random deals of the answers to the questions that fit the references as well as the true one does.

    None where there are fewer than FEWEST_ROWS, or all references are the same.
    """
    import numpy as np

    pairs = list(zip(references, answers, strict=True))[:MOST_DEALT]
    if len(pairs) < FEWEST_ROWS or len({reference for reference, _ in pairs}) == 1:
        return None
    replies = {answer: place for place, answer in enumerate(dict.fromkeys(answer for _, answer in pairs))}
    wanted = {text: place for place, text in enumerate(dict.fromkeys(reference for reference, _ in pairs))}
    table = np.array([[score(reference, answer) for answer in replies] for reference in wanted])
    rows = np.array([wanted[reference] for reference, _ in pairs])
    columns = np.array([replies[answer] for _, answer in pairs])
    true = table[rows, columns].mean()
    random = np.random.default_rng(SEED)
    dealt = random.permuted(np.tile(columns, (DEALS, 1)), axis=1)
    as_good = int((table[rows, dealt].mean(axis=1) >= true - 1e-12).sum())
    return (as_good + 1) / (DEALS + 1)


def _limits(hits: int, n: int) -> tuple[float, float]:
    """Of the share of all answers of which these are some."""
    from scipy.stats import binomtest

    limits = binomtest(hits, n).proportion_ci(1 - 2 * ONE_SIDE, method="exact")
    return float(limits.low), float(limits.high)


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    table: dict[str, Any] = json.loads(Path(__file__).with_name("readiness.json").read_text(encoding="utf-8"))
    return table


@cache
def _answers() -> Mapping[str, Bounds]:
    return {name: Bounds(each["try_out"], each["ready"]) for name, each in _table()["answers"].items()}


@cache
def _rules() -> Mapping[str, Rightness]:
    return {
        kind: Rightness(
            each["score"],
            Bounds(each["try_out"], each["ready"], each["try_out"]) if "try_out" in each else None,
            each.get("right", 1.0),
            each.get("near", 1.0),
        )
        for kind, each in _table()["right"].items()
    }
