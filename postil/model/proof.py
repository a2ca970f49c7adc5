"""A data set held against the labels that one model's template would give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from postil.model.readings import reading
from postil.model.template import Template, count_marks
from postil.records import Dataset, Example, Issue, Left


def with_issues(dataset: Dataset, template: Template, max_length: int, task: str = "causal_lm") -> Dataset:
    """The data set with an issue for each fault of its labels, and for each example with marks in its texts."""
    issues = [
        Issue(f"label_{cause}", "error", example.rows[0] if example.rows else None)
        for example, causes in _faulty(dataset.examples, template, max_length, task)
        for cause in causes
    ]
    marked = [
        Issue("marks_as_text", "warning", example.rows[0] if example.rows else None, values={"n": count})
        for example, count in _marked(dataset.examples, template)
    ]
    return replace(dataset, issues=(*dataset.issues, *issues, *marked))


def doubt_of_marks(examples: Sequence[Example], template: Template) -> tuple[Issue, ...]:
    """One word about all marks that stand in texts of people; none if there are none."""
    counts = [count for _, count in _marked(examples, template)]
    return (Issue("marks_as_text", "warning", values={"n": sum(counts)}),) if counts else ()


def _marked(examples: Sequence[Example], template: Template) -> list[tuple[Example, int]]:
    """The examples whose texts hold marks of the model, with their number."""
    counts = [(example, count_marks(example, template)) for example in examples]
    return [(example, count) for example, count in counts if count]


def without_faulty(dataset: Dataset, template: Template, max_length: int, task: str = "causal_lm") -> Dataset:
    """The data set without the examples whose labels would be wrong: listed as dropped, with the cause."""
    faulty = _faulty(dataset.examples, template, max_length, task)
    out = {id(example) for example, _ in faulty}
    kept = tuple(example for example in dataset.examples if id(example) not in out)
    used = {row for example in kept for row in example.rows}
    dropped = [Left(row, f"label_{causes[0]}") for example, causes in faulty for row in example.rows if row not in used]
    return replace(dataset, examples=kept, dropped=(*dataset.dropped, *dropped))


def _faulty(
    examples: Sequence[Example], template: Template, max_length: int, task: str
) -> list[tuple[Example, tuple[str, ...]]]:
    found, examine = [], reading(task)
    for example in examples:
        causes = tuple(fault.cause for fault in examine(example, template, max_length)[1])
        if causes:
            found.append((example, causes))
    return found
