"""Scores that belong to one task, beside those of every answer (`metrics.py`). One line of the table for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from statistics import fmean
from typing import Any

from postil.records import Answer, Example

Scores = Mapping[str, Sequence[float]]
Rows = Callable[[Sequence[str], Sequence[Answer]], dict[str, list[float]]]
Whole = Callable[[Sequence[str], Sequence[Answer]], dict[str, float]]


@dataclass(frozen=True)
class Own:
    """rows: (references, answers) -> a metric's score of each row; whole: -> metrics that only all rows together have.

    All of these are fractions from 0 to 1, higher is better. measured: (pair, examples, tuned) -> scores that the model
    itself must be asked for; summed: (scores of all rows) -> what they come to. ends: whether an answer is to end by
    itself, or goes on as long as it may.
    """

    rows: Rows = lambda references, answers: {}
    whole: Whole = lambda references, answers: {}
    measured: Callable[[Any, Sequence[Example], bool], dict[str, list[float]]] = lambda pair, examples, tuned: {}
    summed: Callable[[Scores], dict[str, float]] = lambda scores: {}
    ends: bool = True


def _preferred(pair: Any, examples: Sequence[Example], tuned: bool) -> dict[str, list[float]]:
    """Whether the wanted answer is the likelier one, and the reward margin, which is 0 for the base by definition."""
    margins = pair.margins(examples, tuned=tuned)
    rewards = pair.rewards(examples) if tuned else [0.0] * len(examples)
    return {"preferred": [float(margin > 0) for margin in margins], "reward_margin": rewards}


def _preferences(scores: Scores) -> dict[str, float]:
    return {name: fmean(scores[name]) for name in ("preferred", "reward_margin")}


def _perplexity(scores: Scores) -> dict[str, float]:
    """Of the texts' mean losses."""
    return {"perplexity": exp(min(fmean(scores["loss"]), 700.0))}


TASKS: Mapping[str, Own] = {
    "pretraining": Own(summed=_perplexity, ends=False),
    "dpo": Own(measured=_preferred, summed=_preferences),
}


def of_task(task: str) -> Own:
    """The scores of a task; none where it has none of its own."""
    return TASKS.get(task, Own())
