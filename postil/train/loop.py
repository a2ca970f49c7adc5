"""The loop: probe the learning rate, update, validate, keep the best, checkpoint, stop when nothing is gained.

Written for any number of processes: each takes its share of an update's rows, gradients are added up, rank 0 writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from postil.errors import TrainError
from postil.model.adapt import METHODS, trained_parameters, weights_of
from postil.records import Plan
from postil.settings import Ranks
from postil.train import checkpoint
from postil.train.anchor import Anchor
from postil.train.batches import Schedule
from postil.train.checkpoint import Position, Saved
from postil.train.course import Course
from postil.train.grade import Grade
from postil.train.helm import Helm
from postil.train.learner import Learner, Rows
from postil.train.objectives import Objective
from postil.train.pace import Budget, Pace
from postil.train.progress import Progress

PROBE_FACTORS = (0.3, 1.0, 3.0)
PROBE_SHARE = 0.06  # of the updates, for each factor: 18 % more time in all
FEWEST_PROBE_UPDATES = 5
SAVE_SECONDS = 120.0  # between checkpoints at most: what a kill may cost
DROPOUT = "crc32"  # how `learner.dropout_seed` makes its numbers


class Loop:
    """One run of training on one adapter, from wherever its checkpoints stand."""

    def __init__(
        self,
        objective: Objective,
        plan: Plan,
        training: Rows,
        validation: Rows,
        directory: Path,
        progress: Progress,
        stop: Callable[[], bool],
        ranks: Ranks,
        sample: Callable[[int], None] = lambda step: None,
        helm: Helm | None = None,
        clock: Callable[[], float] = time.monotonic,
        anchor: Anchor | None = None,
    ) -> None:
        """`sample`: called with the step after each validation; `helm`: what may end it sooner, None: nothing;
        `anchor`: what keeps the model near its base, None: nothing."""
        self._sample = sample
        self._plan, self._training, self._validation = plan, training, validation
        self._checkpoints = directory / "checkpoints"
        self._progress, self._stop, self._ranks = progress, stop, ranks
        self._helm = helm or Helm(Schedule(len(training), plan), Course(directory), Pace(Budget()), None, progress)
        self._clock, self._saved_at, self._validation_seconds = clock, clock(), 0.0
        self._learner = Learner(objective, plan, ranks, anchor)
        self._model = objective.model
        self._best = weights_of(self._model)
        self._told: dict[str, str] = {}  # what the learner lacks, as the user has heard it
        self._trained = trained_parameters(self._model, plan)
        self._at = Position(micro_batch_tokens=plan.micro_batch_tokens, trained_parameters=self._trained)

    @property
    def _schedule(self) -> Schedule:
        return self._helm.schedule

    def run(self) -> tuple[Position, dict[str, Any]]:
        """Train to the end. Returns the final position and the best adapter's tensors.

        Raises TrainError `interrupted` after saving a checkpoint when `stop` says so, `diverged` when the loss is not
        finite, and `out_of_memory`.
        """
        self._go_on()
        if self._at.base_loss is None:
            with self._progress.timed("base_loss"):
                self._timed_validation()
        if self._at.learning_rate is None:
            with self._progress.timed("probe"):
                self._at = replace(self._at, learning_rate=self._probe())
            self._save()
        self._progress.stage("train", self._at.step / max(1, self._schedule.total))
        while self._at.step < self._schedule.total and not self._gained_nothing():
            started = self._clock()
            loss = self._update(self._at.step, self._learning_rate())
            self._after(loss, self._clock() - started)
        self._progress.stage("select", 1.0, step=self._at.best_step)
        return self._at, self._best

    # ── one update ──

    def _update(self, step: int, peak: float) -> float:
        rows = [self._training[i] for i in self._schedule.rows(step)]
        return self._learner.update(step, rows, self._schedule.learning_rate(step, peak))

    def _after(self, loss: float, seconds: float) -> None:
        """Count, validate, tell and save as the plan says, after an update."""
        done = self._at.step + 1
        for what, why in self._learner.lacks.items():  # also when a later row is the first that does not allow it
            if self._told.get(what) != why:
                self._told[what] = why
                self._progress.tell(what, reason=why)
        tokens = sum(len(s.ids) for i in self._schedule.rows(self._at.step) for s in self._training[i])
        self._at = replace(
            self._at,
            step=done,
            trained_tokens=self._at.trained_tokens + tokens,
        )
        self._helm.after(done, tokens, seconds, self._validation_seconds)
        validation = self._timed_validation() if self._is_time_to_validate(done) else None
        if done % self._plan.logging_steps == 0 or validation is not None or done == self._schedule.total:
            numbers = {
                "epoch": done / self._schedule.per_epoch,
                "loss": loss,
                "validation_loss": validation.loss if validation else None,
                "validation_right": validation.right if validation else None,
                "learning_rate": self._schedule.learning_rate(done - 1, self._learning_rate()),
                "tokens_per_second": tokens / max(seconds, 1e-9),
            }
            self._progress.step(done, self._schedule.total, numbers)
        if validation is not None:
            self._sample(done)
        due = self._is_time_to_save()
        if due or done % self._plan.save_steps == 0 or done == self._schedule.total:
            self._save()
        if self._agreed(self._stop()):
            self._save()
            raise TrainError("interrupted", step=done)

    def _is_time_to_save(self) -> bool:
        """Whether a kill would cost more than a few minutes."""
        return self._agreed(self._clock() - self._saved_at >= SAVE_SECONDS)

    def _agreed(self, wish: bool) -> bool:
        """What rank 0 wishes: all processes have to do the same after the same update."""
        if self._ranks.world == 1:
            return wish
        vote = torch.tensor(float(self._ranks.rank == 0 and wish))
        dist.all_reduce(vote)
        return bool(vote)

    def _learning_rate(self) -> float:
        assert self._at.learning_rate is not None, "the probe comes first"
        return self._at.learning_rate

    # ── validation ──

    def _is_time_to_validate(self, done: int) -> bool:
        """At even distances and at the end; not shortly before it, where it would tell the same twice."""
        every = max(1, round(self._schedule.per_epoch / self._plan.evaluations_per_epoch))
        left = self._schedule.total - done
        return bool(self._validation) and (left == 0 or (done % every == 0 and 2 * left >= every))

    def _timed_validation(self) -> Grade | None:
        started = self._clock()
        grade = self._validate()
        self._validation_seconds = self._clock() - started
        return grade

    def _validate(self) -> Grade | None:
        """How the validation rows are known, which decides what is best; without any the last state is the best."""
        if not self._validation:
            self._best = weights_of(self._model)
            self._at = replace(self._at, best_step=self._at.step)
            return None
        grade = self._learner.validation(self._validation)
        if not isfinite(grade.loss):
            raise TrainError("diverged", step=self._at.step, learning_rate=self._at.learning_rate or 0.0)
        if self._at.base_loss is None:
            as_base = METHODS[self._plan.method].starts_as_base
            base = grade if as_base else self._learner.validation(self._validation, tuned=False)
            self._at = replace(self._at, base_loss=base.loss, **_as_best(grade))
        best = self._best_grade
        if grade.beats(best):
            self._best = weights_of(self._model)
            self._at = replace(self._at, best_step=self._at.step, without_gain=0, **_as_best(grade))
        elif self._at.step and grade.falls_behind(best):
            self._at = replace(self._at, without_gain=self._at.without_gain + 1)
        return grade

    @property
    def _best_grade(self) -> Grade:
        assert self._at.best_loss is not None, "nothing was validated yet"
        return Grade(self._at.best_loss, self._at.best_right, self._at.best_counted)

    def _gained_nothing(self) -> bool:
        if self._at.without_gain < self._plan.patience:
            return False
        self._progress.tell("stopped_early", step=self._at.step, best_step=self._at.best_step)
        return True

    # ── the learning rate ──

    def _probe(self) -> float:
        """The best of a few learning rates by validation loss, each after a few updates from the same start."""
        plan, updates = self._plan, max(FEWEST_PROBE_UPDATES, round(self._schedule.total * PROBE_SHARE))
        if not plan.learning_rate_probe or not self._validation or 3 * updates > self._schedule.total:
            return plan.learning_rate
        start = self._learner.state()
        tried: dict[float, Grade] = {}
        for place, factor in enumerate(PROBE_FACTORS):
            self._progress.stage("probe", place / len(PROBE_FACTORS), learning_rate=factor * plan.learning_rate)
            self._learner.restore(*start)
            tried[factor] = self._grade_after(updates, factor * plan.learning_rate)
        best = min(tried, key=lambda factor: tried[factor].loss)
        self._learner.restore(*start)
        self._progress.tell(
            "learning_rate_probed",
            best=best * plan.learning_rate,
            updates=updates,
            tried=", ".join(f"{factor * plan.learning_rate:.1e} → {grade.loss:.3f}" for factor, grade in tried.items()),
        )
        return best * plan.learning_rate

    def _grade_after(self, updates: int, learning_rate: float) -> Grade:
        try:
            for step in range(updates):
                self._update(step, learning_rate)
        except TrainError as error:
            if error.code != "diverged":
                raise
            return Grade(float("inf"))
        grade = self._learner.validation(self._validation)
        return grade if isfinite(grade.loss) else Grade(float("inf"))

    # ── checkpoints ──

    def _save(self) -> None:
        self._at = replace(
            self._at,
            seconds=self._progress.seconds,
            stages=dict(self._progress.stages),
            packs=self._learner.packs,
            micro_batch_tokens=self._learner.micro_batch_tokens,
            dropout=DROPOUT,
        )
        if not self._validation:
            self._best = weights_of(self._model)
            self._at = replace(self._at, best_step=self._at.step)
        if self._ranks.rank == 0:
            weights, moments = self._learner.state(copy=False)
            checkpoint.save(self._checkpoints, Saved(self._at, weights, self._best, moments))
            checkpoint.tidy(self._checkpoints, self._plan.save_total_limit)
            self._progress.checkpoint(self._at.step)
        self._saved_at = self._clock()
        self._wait_for_all()

    def _wait_for_all(self) -> None:
        if self._ranks.world > 1:
            dist.barrier()

    def _go_on(self) -> None:
        """From the newest checkpoint that is whole, if there is one."""
        if self._ranks.rank > 0:
            self._wait_for_all()  # until rank 0 has set aside what is broken
        saved, broken = checkpoint.latest(self._checkpoints)
        if self._ranks.rank == 0:
            self._wait_for_all()
        self._wait_for_all()  # nobody writes a new one while another still looks
        for name in broken:
            self._progress.tell("checkpoint_broken", level="warn", name=name)
        if saved is None:
            self._progress.go_on(0, 0.0)
            return
        self._learner.restore(saved.weights, saved.moments)
        self._learner.micro_batch_tokens, self._learner.packs = (
            saved.position.micro_batch_tokens,
            saved.position.packs,
        )
        self._best, self._at = saved.best, replace(saved.position, trained_parameters=self._trained)
        self._helm.go_on(saved.position.step)
        self._progress.go_on(saved.position.step, saved.position.seconds, saved.position.stages)
        self._progress.tell("resumed", step=saved.position.step)
        if self._plan.lora_dropout and saved.position.dropout != DROPOUT:
            self._progress.tell("dropout_changed", "warn", step=saved.position.step)


def _as_best(grade: Grade) -> dict[str, Any]:
    """A grade as a position keeps it."""
    return {"best_loss": grade.loss, "best_right": grade.right, "best_counted": grade.counted}
