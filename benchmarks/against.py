"""The articles' script and Postil, each to its end on the same rows in one run, and the same new titles for both.

After each epoch of the script Postil does its share of updates, so that a machine that others load is as slow for one
as for the other. The script is (b), float32; Postil trains by what `postil quickstart` plans. Both on one thread.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import results, script
from benchmarks.bases import RATE, embedded, opened
from benchmarks.evaluation import TITLES_SEED
from benchmarks.ours import learner_of
from benchmarks.shapes import SEED, sample_titles, split_of_titles
from benchmarks.sooner import own_plan, script_answers
from postil.dataset import ask
from postil.evaluate.verdict import verdict
from postil.model.labels import proven
from postil.model.pair import pair_on
from postil.records import Adapter, Example, Message, Plan
from postil.samples import TITLES_INSTRUCTION, TITLES_SYSTEM
from postil.train.batches import Schedule
from postil.train.learner import Learner

NEW = 250  # titles beside those of the sheet's own test part
QUICK = 4  # rows of each part, and epochs of the script at most


class TheScript:
    """The script's rows, order and falling learning rate; counts its CPU seconds."""

    def __init__(self, rows: Sequence[Example], epochs: int) -> None:
        self.loaded, self.seconds, self._done = opened(""), 0.0, 0
        self._rows = [ids for row in rows for ids in script.ids_of(row, self.loaded.tokenizer)]
        self._all = epochs * len(self._rows)
        self._order = random.Random(SEED)
        self.run = script.Script(self.loaded.model, self.loaded.tokenizer.pad_token_id)

    def epoch(self) -> None:
        shuffled, started = self._order.sample(self._rows, len(self._rows)), time.process_time()
        for at in range(0, len(shuffled), script.ROWS_A_PASS):
            self.run.update(shuffled[at : at + script.ROWS_A_PASS], RATE * (1 - self._done / self._all))
            self._done += script.ROWS_A_PASS
        self.seconds += time.process_time() - started

    def answers(self, asked: Sequence[Example]) -> list[str]:
        return script_answers(self.run, self.loaded.tokenizer, asked)


class Ours:
    """Postil's plan for the sheet, without choosing among checkpoints: the last state is asked."""

    def __init__(self, rows: Sequence[Example], plan: Plan) -> None:
        self.loaded, self.plan, self.seconds, self._step = opened(""), plan, 0.0, 0
        self._rows = proven(rows, self.loaded.template, plan.max_length)
        self._schedule = Schedule(len(self._rows), plan)
        self._learner: Learner = learner_of(self.loaded.model, plan, shares=True)

    def until(self, share: float) -> None:
        started = time.process_time()
        while self._step < round(share * self._schedule.total):
            rows = [self._rows[i] for i in self._schedule.rows(self._step)]
            self._learner.update(self._step, rows, self._schedule.learning_rate(self._step, self.plan.learning_rate))
            self._step += 1
        self.seconds += time.process_time() - started

    def answers(self, asked: Sequence[Example], *, tuned: bool) -> list[str]:
        pair = pair_on(replace(self.loaded, model=self._learner.model), Adapter(Path(), "", embedded(), "", self.plan))
        return [answer.text for answer in pair.answers([one.question for one in asked], tuned=tuned)]


def new_titles() -> list[Example]:
    """Titles that stand nowhere in the sheet: its own script makes them, with another seed."""
    from examples.make_samples import titles

    seen = {example.question[-1].content for example in sample_titles().examples}
    made = [
        Example((*ask(title, TITLES_SYSTEM, TITLES_INSTRUCTION), Message("assistant", noun)), (row,))
        for row, (title, noun, _) in enumerate(titles(random.Random(TITLES_SEED)), 1)
    ]
    return [example for example in made if example.question[-1].content not in seen][:NEW]


def run(rounds: int, quick: bool, command: str) -> None:
    """An hour and a half on one thread. `rounds` counts for nothing: each side is trained once."""
    torch.set_num_threads(1)
    parts, epochs = split_of_titles(), 2 if quick else script.EPOCHS
    training, tests = (part[: QUICK if quick else None] for part in (parts.training, parts.test))
    asked = [*tests, *new_titles()[: QUICK if quick else None]]
    theirs, ours = TheScript(training, epochs), Ours(training, own_plan(SEED))
    for epoch in range(1, epochs + 1):
        theirs.epoch()
        ours.until(epoch / epochs)
        print(f"epoch {epoch}: script {theirs.seconds:.0f} CPU s, Postil {ours.seconds:.0f}", flush=True)
    said = {"base": ours.answers(asked, tuned=False), "script (b)": theirs.answers(asked),
            "Postil": ours.answers(asked, tuned=True)}  # fmt: skip
    right = {side: _right(asked, answers) for side, answers in said.items()}
    rows = [(side, _share(scores[: len(tests)]), _share(scores[len(tests) :]), _share(scores), seconds)
            for (side, scores), seconds in zip(right.items(), ("", f"{theirs.seconds:.0f}", f"{ours.seconds:.0f}"),
                                               strict=True)]  # fmt: skip
    found = verdict("exact_match", right["script (b)"], right["Postil"])
    low, high = (100 * bound for bound in found.interval)
    header = (
        "",
        f"{len(tests)} test titles of the sheet",
        f"{len(asked) - len(tests)} more",
        "all",
        "CPU s of training",
    )
    results.write("against", command, (
        f"{len(training)} titles are learned: by the script (b) in {epochs} epochs of padded rows, by Postil as "
        f"quickstart plans ({ours.plan.n_epochs} epochs), both on one thread, in turn. Answered exactly, greedily; no "
        f"title was in any training row.\n\n{results.table(header, rows)}\n\n"
        f"Postil over the script on all {found.n}: {100 * found.difference:+.1f} points, 95% interval "
        f"{low:+.1f} to {high:+.1f}: {found.outcome}. Time of the script over Postil's: "
        f"{theirs.seconds / ours.seconds:.1f}."
    ))  # fmt: skip


def _right(asked: Sequence[Example], answers: Sequence[str]) -> list[float]:
    return [float(answer == example.answer) for example, answer in zip(asked, answers, strict=True)]


def _share(scores: Sequence[float]) -> Any:
    return f"{sum(scores) / len(scores):.0%}"
