"""Steers a run by the clock: ends it sooner where its time is short, and lets other threads compute where that pays.

Whatever it decides is written down before the run acts on it, and is done again after a kill: see `course.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from postil.train.batches import Schedule
from postil.train.course import Course, Turn
from postil.train.crew import Crew
from postil.train.pace import News, Pace
from postil.train.progress import Progress


class Helm:
    """The schedule of a run as it stands, and what changes it."""

    def __init__(
        self, schedule: Schedule, course: Course, pace: Pace, crew: Crew | None, progress: Progress,
        set_threads: Callable[[int], None] = torch.set_num_threads,
    ) -> None:  # fmt: skip
        """`crew`: None where the number of threads is settled."""
        self.schedule = schedule
        self._course, self._pace, self._crew, self._progress = course, pace, crew, progress
        self._set_threads = set_threads

    def go_on(self, step: int) -> None:
        """Stand where the run stood after update `step`."""
        for turn in self._course.until(step):
            self._act(turn)

    def after(self, done: int, tokens: int, seconds: float, validation_seconds: float = 0.0) -> None:
        """Hear of update number `done`, of so many tokens and seconds, and do what follows from it."""
        self._pace.hear(seconds)
        if self._course.is_settled(done):
            for turn in self._course.at(done):
                self._act(turn)
            return
        threads = self._crew.hear(tokens, seconds) if self._crew else None
        if threads is not None:
            self._change_threads(done, threads)
        elif self._crew is None or not self._crew.is_trying():
            self._watch_the_time(done, validation_seconds)

    def proof_share(self) -> float:
        """Of the test questions, for how many there is time."""
        return self._pace.proof_share(self._progress.seconds)

    def _act(self, turn: Turn) -> None:
        if turn.threads:
            self._set_threads(turn.threads)
            self._pace.forget()
            if self._crew:
                self._crew.turn_to(turn.threads)
        if turn.updates:
            self.schedule = replace(self.schedule, cuts=(*self.schedule.cuts, (turn.step, turn.updates)))

    def _take(self, turn: Turn) -> None:
        self._course.take(turn)
        self._act(turn)

    def _change_threads(self, done: int, threads: int) -> None:
        assert self._crew is not None
        before = self._crew.threads
        trying = self._crew.is_trying()
        code = "threads_back" if not trying else "threads_more" if threads > before else "threads_fewer"
        self._take(Turn(done, threads=threads))
        self._progress.tell(code, step=done, threads=threads, before=before)

    def _watch_the_time(self, done: int, validation_seconds: float) -> None:
        """Say when the time left has become another; end sooner where the job has a limit."""
        total = self.schedule.total
        extra = validation_seconds * self._validations(total - done)
        news = self._pace.news(done, total, extra)
        updates = self._pace.affordable(done, total, self.schedule.planned, self._progress.seconds, extra)
        if news is not None:
            self._tell(news, done, limited=self._pace.limit > 0)
        if updates != total:
            self._end_at(done, updates)

    def _tell(self, news: News, done: int, *, limited: bool) -> None:
        numbers = {"left": _minutes(news.left), "planned": _minutes(news.planned)}
        if not news.slower:
            self._progress.tell("pace_faster", step=done, **numbers)
        elif limited:
            self._progress.tell("pace_slower_limited", "warn", step=done, **numbers)
        else:
            fit, of = self._epochs(news.updates), self._epochs(self.schedule.total)
            self._progress.tell("pace_slower", "warn", step=done, epochs=fit, of=of, **numbers)

    def _end_at(self, done: int, updates: int) -> None:
        before = self.schedule.total
        self._take(Turn(done, updates=updates))
        code = "shortened" if updates < before else "lengthened"
        self._progress.tell(code, "warn", step=done, updates=updates, of=before, epochs=self._epochs(updates),
                            of_epochs=self._epochs(before), minutes=f"{self._pace.limit / 60:g}")  # fmt: skip

    def _epochs(self, updates: int) -> str:
        return f"{updates / self.schedule.per_epoch:.2g}"

    def _validations(self, updates: int) -> int:
        each = max(1, round(self.schedule.per_epoch / self.schedule.plan.evaluations_per_epoch))
        return -(-updates // each)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}" if seconds < 600 else str(round(seconds / 60))
