"""Any order of actions, deaths, restarts and returns from the dead: the queue agrees with a model of a few lines."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from postil.errors import JobError
from postil.jobs import InMemoryExecutor, Pace
from postil.store import LOCAL, TERMINAL
from postil.store.tables import Job
from tests.jobs import invariants
from tests.jobs.puppet import Puppet
from tests.jobs.shop import Shop

CALM = Pace(tick=0.01, silence=3600.0, grace=0.1, sweep=0.0)
LEGAL = {
    "validating_files": {"queued", "running", "paused", "failed", "cancelled"},  # queued: within one look
    "queued": {"running", "paused", "cancelled"},
    "running": {"queued", "paused", "succeeded", "failed", "cancelled"},
    "paused": {"validating_files", "queued", "running", "cancelled"},
}  # fmt: skip


class Jobs(RuleBasedStateMachine):
    """`seen`: the last state of each job; `steps`: the furthest step that any of its workers told."""

    jobs = Bundle("jobs")

    @initialize()
    def open(self) -> None:
        self.place = tempfile.TemporaryDirectory()
        self.shop = Shop(Path(self.place.name))
        self.file = self.shop.file()
        self.executor = InMemoryExecutor(cpus=2.0)
        self.watch = self.shop.watch(self.executor, CALM)
        self.seen: dict[str, str] = {}
        self.attempts: dict[str, int] = {}
        self.frozen: list[Puppet] = []

    def teardown(self) -> None:
        for job_id in self.seen:
            if self._row(job_id).status not in TERMINAL:
                self.shop.queue.cancel(LOCAL, job_id)
        for _ in range(3):
            self.watch.tick()
        invariants.check(self.shop)
        self.shop.store.close()
        self.place.cleanup()

    def _row(self, job_id: str) -> Job:
        return self.shop.queue.get(LOCAL, job_id)

    def _worker(self, job_id: str) -> Puppet | None:
        row = self._row(job_id)
        run = f"{job_id}:{row.attempt}"
        alive = row.claimed and run in self.executor.runs and not self.executor.poll(run).over
        return Puppet(self.executor, run) if alive else None

    def _is_current(self, worker: Puppet) -> bool:
        job_id, _, attempt = worker.run_id.rpartition(":")
        row = self._row(job_id)
        return row.claimed and row.attempt == int(attempt)

    # ── what clients do ──

    @rule(target=jobs, priority=st.integers(0, 2))
    def create(self, priority: int) -> str:
        job = self.shop.order(training_file=self.file, priority=priority)
        self.seen[job.id], self.attempts[job.id] = job.status, 0
        return job.id

    @rule(job=jobs, action=st.sampled_from(["cancel", "pause", "resume", "keep"]))
    def act(self, job: str, action: str) -> None:
        before = self._row(job)
        try:
            after = getattr(self.shop.queue, action)(LOCAL, job)
        except JobError as refused:
            assert refused.code in ("job_already_terminal", "job_not_pausable", "job_not_resumable", "nothing_to_keep")
            assert self._row(job).status == before.status
            assert not (action == "cancel" and before.status not in TERMINAL)
        else:
            assert action != "cancel" or after.status == "cancelled"
            assert action != "pause" or after.status == "paused" or after.wish is not None

    # ── what workers do ──

    @rule(job=jobs, saves=st.booleans())
    def work(self, job: str, saves: bool) -> None:
        worker, row = self._worker(job), self._row(job)
        if worker is None:
            return
        if worker.spec["phase"] == "validate":
            worker.validated()
            return
        step = row.last_checkpoint + 1
        worker.step(step)
        if saves:
            worker.checkpoint(step)

    @rule(job=jobs, end=st.sampled_from(["succeed", "fail", "crash", "obey", "lose"]))
    def end(self, job: str, end: str) -> None:
        worker = self._worker(job)
        if worker is None:
            return
        wish = worker.fence["wish"]
        if end == "obey":
            worker.end("paused" if wish == "pause" else "stopped")
        elif end == "lose":
            self.frozen.append(worker)
            self.executor.lose(worker.run_id)
        elif end == "succeed" and worker.spec["phase"] == "validate":
            worker.validated()
        else:
            {"succeed": worker.succeed, "fail": worker.fail, "crash": worker.crash}[end]()

    @rule()
    def thaw(self) -> None:
        """A worker that was given up goes on writing where it was. One that no server has missed yet is none."""
        given_up = [one for one in self.frozen if not self._is_current(one)]
        if given_up:
            zombie = given_up[-1]
            self.frozen.remove(zombie)
            if zombie.directory.exists():
                zombie.step(99)
                zombie.checkpoint(99)
                zombie.succeed(b"from the past")

    # ── what servers do ──

    @rule(times=st.integers(1, 3))
    def look(self, times: int) -> None:
        for _ in range(times):
            self.watch.tick()

    @rule()
    def restart(self) -> None:
        self.watch.lease.leave()  # the rows of its jobs name a server that nobody knows
        self.watch = self.shop.watch(self.executor, CALM)

    # ── what is always true ──

    @invariant()
    def agrees(self) -> None:
        for job_id, before in self.seen.items():
            row = self._row(job_id)
            assert row.status == before or before not in TERMINAL, f"{before} → {row.status}"
            assert row.status == before or row.status in _reachable(before)
            assert row.attempt >= self.attempts[job_id]
            assert not (row.claimed and row.status not in ("validating_files", "running"))
            assert (row.status == "running") <= row.claimed
            assert (row.finished_at is not None) == (row.status in TERMINAL)
            assert (row.fine_tuned_model is not None) == (row.status == "succeeded")
            assert row.status != "failed" or row.error is not None
            assert row.last_checkpoint < 99
            self.seen[job_id], self.attempts[job_id] = row.status, row.attempt


def _reachable(status: str) -> set[str]:
    """A rule may take several looks: what can be reached in any number of legal changes."""
    found, new = set[str](), {status}
    while new:
        new = {to for one in new for to in LEGAL.get(one, set())} - found
        found |= new
    return found


@pytest.mark.parametrize("steps", [pytest.param((6, 20), id="quick"),
                                   pytest.param((40, 40), id="thorough", marks=pytest.mark.slow)])  # fmt: skip
def test_fault_19_the_queue_agrees_with_its_model(tiny: Path, steps: tuple[int, int]) -> None:
    examples, length = steps
    run_state_machine_as_test(
        Jobs,
        settings=settings(max_examples=examples, stateful_step_count=length, deadline=None, derandomize=True,
                          suppress_health_check=list(HealthCheck), phases=(Phase.generate,)),
    )  # fmt: skip
