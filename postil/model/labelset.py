"""The labels that a run tells apart: found in its training examples, kept beside its adapter. No model library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from postil.errors import AdapterError, DataError
from postil.model.entities import OUTSIDE, types_in
from postil.records import Example
from postil.store import read_json, write_json

LABELS = "labels.json"
CLOSED = 0.5  # distinct labels per example; more, and the answers are no set of labels


@dataclass(frozen=True)
class Labels:
    """The labels that a run tells apart, in the head's order, and the most frequent of them."""

    names: tuple[str, ...] = ()
    majority: str = ""


@dataclass(frozen=True)
class Labelling:
    """names: of training examples, what the head tells apart; of: which labels one example needs."""

    names: Callable[[Sequence[Example]], tuple[str, ...]]
    of: Callable[[Example], set[str]]


def _answers(examples: Sequence[Example]) -> tuple[str, ...]:
    return tuple(sorted({example.answer.strip() for example in examples}))


def _tags(examples: Sequence[Example]) -> tuple[str, ...]:
    types = types_in(example.answer for example in examples)
    return (OUTSIDE, *(f"{mark}-{name}" for name in types for mark in ("B", "I")))


# the tasks that have labels
LABELLED: Mapping[str, Labelling] = {
    "seq_cls": Labelling(_answers, lambda example: {example.answer.strip()}),
    "token_cls": Labelling(_tags, lambda example: set(types_in([example.answer]))),
}


def labels_of(task: str, training: Sequence[Example], others: Sequence[Example] = ()) -> Labels:
    """The labels that a run on these examples tells apart; none where its task has no labels.

    Raises DataError: `labels_too_few` (not even two), `labels_not_closed` (nearly every row has one of its own),
    `labels_unknown` with the rows of `others` whose label no training example has.
    """
    if task not in LABELLED:
        return Labels()
    names = LABELLED[task].names(training)
    if len(names) < 2:
        rows = sorted({row for example in training for row in example.rows})
        raise DataError("labels_too_few", n=len(names), rows=rows, label="".join(names)[:40])
    if OUTSIDE not in names and len(names) > max(2, CLOSED * len(training)):
        raise DataError("labels_not_closed", labels=len(names), n=len(training))
    require_known(task, training, others)
    counts = Counter(example.answer.strip() for example in training)
    most = min(counts, key=lambda name: (-counts[name], name))
    return Labels(names, most if most in names else OUTSIDE)


def require_known(task: str, training: Sequence[Example], others: Sequence[Example]) -> None:
    """Raises DataError `labels_unknown` with the rows of `others` whose label no training example has."""
    of = LABELLED[task].of
    known = set[str]().union(*(of(example) for example in training))
    strange = [example for example in others if of(example) - known]
    if strange:
        names = sorted(set[str]().union(*(of(example) for example in strange)) - known)
        rows = sorted({row for example in strange for row in example.rows})
        raise DataError("labels_unknown", labels=", ".join(name[:40] for name in names[:10]), rows=rows)


def write_labels(directory: Path, labels: Labels) -> None:
    """Put the labels beside the adapter, if there are any."""
    if labels.names:
        write_json(directory / LABELS, {"labels": list(labels.names), "majority": labels.majority})


def read_labels(directory: Path) -> Labels:
    """The labels of the adapter in `directory`. Raises AdapterError `labels_missing`."""
    try:
        told = read_json(directory / LABELS)
    except (OSError, ValueError) as error:
        raise AdapterError("labels_missing", path=str(directory)) from error
    names = told.get("labels") if isinstance(told, dict) else None
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise AdapterError("labels_missing", path=str(directory))
    return Labels(tuple(names), str(told.get("majority", names[0])))
