"""A plan in the making: what was measured and decided so far, and what the parts of the data come to by it.

`flow.plan` tells the order; here is what is done at each step. A plan that has a time to keep is chosen twice: once as
if there were no limit, and once more with the parts and epochs that fit into it by the measured speed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil import plan as room
from postil.model.count import count
from postil.records import Base, Choice, Counts, Dataset, Estimate, Issue, Plan, Probe, Proposal, Split
from postil.settings import Settings

if TYPE_CHECKING:
    from postil.model.probe import Ask
    from postil.model.template import Template
    from postil.plan import Changes


@dataclass(frozen=True)
class Wish:
    """What the user wants of a plan: a preset, single values, an earlier plan's values (`kept`), own parts."""

    preset: str | None
    wishes: Mapping[str, Any]
    kept: Mapping[str, Any]
    validation: Dataset | None
    test: Dataset | None

    @property
    def values(self) -> dict[str, Any]:
        return {**self.kept, **self.wishes}


TWICE = ("rows_in_two_parts", "parts_are_the_same")


class Draft:
    """The present state of a plan. doubts: what was found to stand against it; stages: seconds, by name.

    Raises PlanError for values that do not go together, and what `_parts` raises.
    """

    def __init__(
        self,
        dataset: Dataset,
        base: Base,
        task: str,
        template: Template | None,
        max_length: int,
        wish: Wish,
        output: Path | None,
    ) -> None:
        self._dataset, self._base, self._task, self._template = dataset, base, task, template
        self._max_length, self._wish, self._output = max_length, wish, output
        self.doubts: list[Issue] = []
        self.stages: dict[str, float] = {}
        self._probe: Probe | None = None
        self._changes: Changes | None = None
        self._part({})
        self.machine = room.machine(output)
        self._choose()

    def measure(self, ask: Ask) -> None:
        """Time a short real step on this machine and choose anew. Where nothing could be measured, a doubt says why."""
        started = time.monotonic()
        most = 60 * self.plan.minutes * room.PROBE_SHARE
        self._probe = self._measured(ask, most)
        if self._probe:
            self.stages["measure"] = time.monotonic() - started
        self.machine = room.machine(self._output, self._probe)
        self._choose()

    def multiply_rate(self, factor: float) -> None:
        """Learn at `factor` times the rate that was chosen, unless the user has named one."""
        if "learning_rate" in self._wish.wishes:
            return
        rate = room.check_settings({"learning_rate": str(self.plan.learning_rate * factor)})
        self._wish = replace(self._wish, wishes={**self._wish.wishes, **rate})
        self._choose()

    def fit_into_time(self, begun: float) -> None:
        """Leave out what does not fit into the plan's minutes, and say what. begun: their beginning, monotonic seconds.

        Only what was chosen here is left out, and only by a speed that was measured.
        """
        if not (self.plan.minutes and self._probe and self._probe.step_seconds):
            return
        own = {"validation_rows": self._wish.validation, "test_rows": self._wish.test}
        fixed = [
            *(name for name, part in own.items() if part),
            *(name for name, choice in self.reasons.items() if choice.source in ("user", "plan")),
        ]
        left = 60 * self.plan.minutes - (time.monotonic() - begun)
        self._changes = room.fit(
            self.plan, self.counts.n, left, lambda plan: sum(self._estimate(plan).seconds) / 2, fixed
        )
        if self._changes:
            # what is held out no longer is not learned instead
            self._part({"training_rows": self.counts.n, **{name: c.after for name, c in self._changes.items()}})
            self._choose()
        whole = sum(self._estimate(self.plan).seconds) / 2
        self.doubts += room.issues_of(self._changes, self.plan, whole, left, self.machine.load, self.machine.cores)

    def proposal(self) -> Proposal:
        """Where nothing was measured, a plan's minutes bound what is said of its time: the run will keep to them."""
        estimate = self._estimate(self.plan)
        if self.plan.minutes and not self._probe:
            estimate = room.bounded(estimate, 60 * self.plan.minutes, Settings())
        return Proposal(self.plan, self.reasons, estimate)

    def _part(self, sizes: Mapping[str, Any]) -> None:
        """Divide the data, with parts of these sizes, and count the tokens of each."""
        self.split: Split
        self.split, twice = _parts(self._dataset, self._task, self._wish, sizes)
        self.doubts = [doubt for doubt in self.doubts if doubt.code not in TWICE]
        self.doubts += _in_two_parts(twice)
        if self._template:
            self.counts: Counts = count(self.split, self._template, self._task, self._max_length)
        else:
            validation, test = len(self.split.validation), len(self.split.test)
            self.counts = room.rough_counts(self.split.training, self._base, validation, test)

    def _choose(self) -> None:
        wish = self._wish
        self.plan: Plan
        self.reasons: dict[str, Choice]
        self.plan, self.reasons = room.choose(
            self.split.training,
            self.counts,
            self._base,
            self.machine,
            self._probe,
            wish.preset,
            wish.wishes,
            wish.kept,
            self._changes,
        )

    def _estimate(self, plan: Plan) -> Estimate:
        return room.estimate(plan, self.counts, self._base, self.machine, self._probe, Settings())

    def _measured(self, ask: Ask, most: float) -> Probe | None:
        """A short real step of rows like these, in the child that measures.

        most: seconds after which it makes do with what it has, 0: as long as it takes.
        """
        from postil.model.probe import Unmeasured
        from postil.model.readings import reading

        template = self._template
        try:
            if template is None or self._base.shape.encoder_layers or template.end_id is None:
                return ask(None)  # what reads with an encoder takes no such step
            make = reading(self._task)
            few = self.split.training[:8]
            rows = [row for example in few for row in make(example, template, self._max_length)[0]][:8]
            return ask(self._base.path, rows, most)
        except Unmeasured as error:
            here = room.machine()
            values = {"detail": error.detail or "-", "load": f"{here.load:.1f}", "cores": here.cores}
            self.doubts.append(Issue(f"not_measured_{error.cause}", "warning", values=values))
            return None


def _in_two_parts(twice: Mapping[str, int]) -> list[Issue]:
    """What is said of rows that stood in more than one part: see `dataset.apart`."""
    issues = []
    if moved := twice.get("training", 0) + twice.get("validation", 0):
        issues.append(Issue("rows_in_two_parts", "warning", values={"n": moved}))
    if same := twice.get("same", 0):
        issues.append(Issue("parts_are_the_same", "warning", values={"n": same}))
    return issues


def _parts(dataset: Dataset, task: str, wish: Wish, sizes: Mapping[str, Any]) -> tuple[Split, Mapping[str, int]]:
    """Three parts; the user's own validation and test files overrule what would be held out. And of how many rows of
    theirs the training knew already.

    Raises DataError where the task has labels and these are none that can be learned: see `labelset.labels_of`.
    """
    from postil import dataset as data
    from postil.model.labelset import LABELLED, labels_of

    values = {**wish.values, **sizes}
    n_validation, n_test = room.split_sizes(len(dataset.examples), wish.preset, values)
    split = data.split(
        dataset.examples,
        validation_rows=0 if wish.validation else n_validation,
        test_rows=0 if wish.test else n_test,
        seed=int(values.get("seed", 42)),
    )
    own = {
        **({"validation": data.for_task(wish.validation, task).examples} if wish.validation else {}),
        **({"test": data.for_task(wish.test, task).examples} if wish.test else {}),
    }
    split, twice = data.apart(replace(split, **own)) if own else (split, {})
    rows = room.training_rows(wish.preset, values)
    split = replace(split, training=split.training[:rows]) if rows else split
    if task in LABELLED:
        of = LABELLED[task].of
        split = data.with_every_label(split, of, validation=wish.validation is None, test=wish.test is None)
        labels_of(task, split.training, split.validation)
    return split, twice
