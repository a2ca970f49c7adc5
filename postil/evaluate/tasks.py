"""Scores that belong to one task, beside those of every answer (`metrics.py`). One line of the table for each task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from statistics import fmean
from typing import Any

from postil.evaluate.plainly import by_words, most_frequent
from postil.model.entities import Entity, read_entities
from postil.records import Answer, Confusion, Example, Kind

Scores = Mapping[str, Sequence[float]]
Rows = Callable[[Sequence[str], Sequence[Answer]], dict[str, list[float]]]
Whole = Callable[[Sequence[str], Sequence[Answer]], dict[str, float]]
Others = Callable[[Sequence[Example], Sequence[Example]], dict[str, list[Answer]]]
Counted = Callable[[Sequence[str], Sequence[Answer]], Confusion]
MOST_SHOWN = 30  # labels of a table; the rest is counted together
REST = "…"


@dataclass(frozen=True)
class Own:
    """rows: (references, answers) -> a metric's score of each row; whole: -> metrics that only all rows together have.

    All of these are fractions from 0 to 1, higher is better. measured: (pair, examples, tuned) -> scores that the model
    itself must be asked for; summed: (scores of all rows) -> what they come to.

    others: (training examples, questions) -> answers of plain means, without a language model, by name.
    confusion: which label was given for which. only: those of the general metrics that mean anything here; None: all.
    ends: whether an answer is to end by itself, or goes on as long as it may.
    kind: as data of which kind its answers are to be read, whatever the data look like; None: as they look.
    """

    rows: Rows = lambda references, answers: {}
    whole: Whole = lambda references, answers: {}
    measured: Callable[[Any, Sequence[Example], bool], dict[str, list[float]]] = lambda pair, examples, tuned: {}
    summed: Callable[[Scores], dict[str, float]] = lambda scores: {}
    others: Others = lambda training, asked: {}
    confusion: Counted | None = None
    only: tuple[str, ...] | None = None
    ends: bool = True
    kind: Kind | None = None


def macro_f1(references: Sequence[str], answers: Sequence[Answer]) -> dict[str, float]:
    """The mean over the labels of the references of each one's F1: a rare label counts as much as a frequent one."""
    pairs = list(zip((text.strip() for text in references), (answer.text.strip() for answer in answers), strict=True))
    labels = sorted({wanted for wanted, _ in pairs})
    if not labels:
        return {}
    scores = []
    for label in labels:
        right = sum(wanted == given == label for wanted, given in pairs)
        named = sum(wanted == label for wanted, _ in pairs) + sum(given == label for _, given in pairs)
        scores.append(2 * right / named)
    return {"macro_f1": sum(scores) / len(scores)}


def entity_f1_rows(references: Sequence[str], answers: Sequence[Answer]) -> dict[str, list[float]]:
    """F1 of the marked pieces of each row: one is right where its place and its type are. Nothing wanted, nothing
    marked: 1."""
    return {"entity_f1": [_f1(*counts) for counts in map(_counts, references, answers)]}


def entity_f1(references: Sequence[str], answers: Sequence[Answer]) -> dict[str, float]:
    """The same of all rows together (micro), as seqeval has it."""
    counts = list(map(_counts, references, answers))
    return {"entity_f1": _f1(*(sum(column) for column in zip(*counts, strict=True)))} if counts else {}


def of_labels(references: Sequence[str], answers: Sequence[Answer]) -> Confusion:
    """How often each wanted label was given as which."""
    return _table([(wanted.strip(), given.text.strip()) for wanted, given in zip(references, answers, strict=True)])


def of_entities(references: Sequence[str], answers: Sequence[Answer]) -> Confusion:
    """The same of types, for pieces of the same place; "-": nothing was to be marked there, or nothing was marked."""
    pairs: list[tuple[str, str]] = []
    for reference, answer in zip(references, answers, strict=True):
        wanted, given = ({(one.start, one.end): one.type for one in _marks(text)} for text in (reference, answer.text))
        pairs += [(wanted.get(place, "-"), given.get(place, "-")) for place in sorted({*wanted, *given})]
    return _table(pairs)


def _preferred(pair: Any, examples: Sequence[Example], tuned: bool) -> dict[str, list[float]]:
    """Whether the wanted answer is the likelier one, token for token (else the shorter one would win for its length);
    and the reward margin, which is 0 for the base by definition."""
    margins = pair.margins(examples, tuned=tuned)
    rewards = pair.rewards(examples) if tuned else [0.0] * len(examples)
    return {"preferred": [float(margin.per_token > 0) for margin in margins], "reward_margin": rewards}


def _preferences(scores: Scores) -> dict[str, float]:
    return {name: fmean(scores[name]) for name in ("preferred", "reward_margin")}


def _perplexity(scores: Scores) -> dict[str, float]:
    """Of the texts' mean losses."""
    return {"perplexity": exp(min(fmean(scores["loss"]), 700.0))}


TASKS: Mapping[str, Own] = {
    "seq_cls": Own(
        whole=macro_f1,
        others=lambda training, asked: {**by_words(training, asked), **most_frequent(training, asked)},
        confusion=of_labels,
        only=("exact_match", "loss"),
    ),
    "token_cls": Own(entity_f1_rows, entity_f1, confusion=of_entities, only=("exact_match", "loss")),
    "pretraining": Own(summed=_perplexity, ends=False),
    "dpo": Own(measured=_preferred, summed=_preferences, kind="copywriting"),
}


def of_task(task: str) -> Own:
    """The scores of a task; none where it has none of its own."""
    return TASKS.get(task, Own())


def _table(pairs: Sequence[tuple[str, str]]) -> Confusion:
    seen = Counter(label for pair in pairs for label in pair)
    shown = sorted(sorted(seen, key=lambda label: (-seen[label], label))[:MOST_SHOWN])
    labels = (*shown, *((REST,) if len(seen) > len(shown) else ()))
    counts = Counter((a if a in shown else REST, b if b in shown else REST) for a, b in pairs)
    return Confusion(labels, tuple(tuple(counts[wanted, given] for given in labels) for wanted in labels))


def _counts(reference: str, answer: Answer) -> tuple[int, int, int]:
    """Right, wanted and given pieces of a row."""
    wanted, given = ({(one.start, one.end, one.type) for one in _marks(text)} for text in (reference, answer.text))
    return len(wanted & given), len(wanted), len(given)


def _marks(text: str) -> list[Entity]:
    return read_entities(text) or []


def _f1(right: int, wanted: int, given: int) -> float:
    return 2 * right / (wanted + given) if wanted + given else 1.0
