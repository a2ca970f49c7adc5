"""Scores that belong to one task, beside those of every answer (`metrics.py`). One line of the table for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from postil.records import Answer

Rows = Callable[[Sequence[str], Sequence[Answer]], dict[str, list[float]]]
Whole = Callable[[Sequence[str], Sequence[Answer]], dict[str, float]]


@dataclass(frozen=True)
class Own:
    """rows: (references, answers) -> a metric's score of each row; whole: -> metrics that only all rows together have.

    All are fractions from 0 to 1, higher is better.
    """

    rows: Rows = lambda references, answers: {}
    whole: Whole = lambda references, answers: {}


TASKS: Mapping[str, Own] = {}


def of_task(task: str) -> Own:
    """The scores of a task; none where it has none of its own."""
    return TASKS.get(task, Own())
