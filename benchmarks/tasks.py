"""Each kind of task on a sample sheet with the embedded model: tuned beside the untouched base and plain means.

One entry of the table for each task; the base, TF-IDF with a linear classifier and the most frequent label answer the
same test rows as the tuned model, and a metric is that of the run's own evaluation.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks import results

OUT = Path(__file__).parents[1] / "out" / "benchmarks" / "tasks"
# Few rows and passes: what the kinds of task need, not how far they go.
SETTINGS = {"training_rows": "96", "n_epochs": "2", "batch_size": "4", "evaluations_per_epoch": "1",
            "validation_rows": "12", "test_rows": "32", "learning_rate_probe": "false", "threads": "1",
            "dtype": "float32"}  # fmt: skip
QUICK = {"training_rows": "16", "n_epochs": "1", "test_rows": "6", "validation_rows": "4"}


@dataclass(frozen=True)
class Entry:
    """A task on a sample. metric: the one that is shown, of all rows."""

    task: str
    sample: Literal["titles", "service", "intents", "entities"]
    metric: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.task}-{self.sample}"


ENTRIES = (
    Entry("seq_cls", "intents", "exact_match"),
    Entry("causal_lm", "intents", "exact_match", {"metric": "exact_match"}),
    Entry("token_cls", "entities", "entity_f1"),
)


def learned(entry: Entry, quick: bool) -> tuple[dict[str, Any], Any]:
    """Train an entry from its sheet; its result and its evaluation."""
    from postil import flow
    from postil.evaluate import read_evaluation
    from postil.samples import sample

    directory = OUT / entry.name
    shutil.rmtree(directory, ignore_errors=True)
    base = flow.fetched(flow.find_base(flow.EMBEDDED))
    dataset = flow.check(sample(entry.sample), flow.Reading(task=entry.task))
    wishes = {**SETTINGS, "task": entry.task, **entry.settings, **(QUICK if quick else {})}
    prepared = flow.plan(dataset, base, settings=wishes, measure=False)
    return flow.train(prepared, directory, lambda event: None), read_evaluation(directory)


def row(entry: Entry, result: Mapping[str, Any], evaluation: Any) -> tuple[str, ...]:
    """A line of the table: of a run's result and its evaluation."""
    plain = (evaluation.others.get(name, {}).get(entry.metric) for name in ("tfidf", "majority"))
    scores = (evaluation.tuned[entry.metric], evaluation.base[entry.metric], *plain)
    return (
        f"`{entry.task}`", entry.sample, f"{_training(entry)} / {len(evaluation.rows)}", entry.metric,
        *("" if score is None else f"{score:.1%}" for score in scores), evaluation.verdict.outcome,
        f"{result['seconds']:.0f}",
    )  # fmt: skip


def run(rounds: int, quick: bool, command: str) -> None:
    """All entries, one after the other."""
    rows = []
    for entry in ENTRIES:
        rows.append(row(entry, *learned(entry, quick)))
        print(rows[-1], flush=True)
    results.write("tasks", command, _page(rows))


def _training(entry: Entry) -> int:
    from postil import train

    return len(train.examples_of(OUT / entry.name, "training"))


def _page(rows: list[tuple[str, ...]]) -> str:
    head = ("task", "sheet", "rows: training / test", "metric", "tuned", "untouched base", "TF-IDF + linear",
            "most frequent label", "verdict against the base", "seconds")  # fmt: skip
    return (
        "The sample sheets with the embedded 135M model, "
        + ", ".join(f"`{name}={value}`" for name, value in SETTINGS.items())
        + ". The untouched base: in `seq_cls` it chooses among the labels by likelihood (constrained), in `causal_lm` "
        "it writes what it likes, in `token_cls` it marks nothing.\n\n" + results.table(head, rows)
    )
