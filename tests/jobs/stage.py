"""A shop whose workers are forked from one process that has loaded torch already, so that faults can strike often."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from postil.jobs import LocalExecutor, Pace, RunSpec
from postil.store.tables import Job
from tests.jobs.shop import QUICK, Shop, ended, until


class Forked(LocalExecutor):
    """The executor of this machine, but its processes are forked from a prepared one. `faults`: by run id."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, cpus=2.0)
        self.faults: Callable[[str], Mapping[str, Any] | None] = lambda run_id: None
        self._zygote: subprocess.Popen[str] | None = None

    def _start(self, spec: RunSpec, env: Mapping[str, str], place: Path) -> tuple[None, int]:
        if self._zygote is None:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.jobs.zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                cwd=Path(__file__).parents[2],
            )  # fmt: skip
        assert self._zygote.stdin is not None and self._zygote.stdout is not None
        order = {"argv": spec.argv, "env": dict(env), "cwd": str(place), "log": str(place / "log.txt"),
                 "fault": self.faults(spec.run_id)}  # fmt: skip
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        return None, int(self._zygote.stdout.readline())

    def close(self) -> None:
        if self._zygote is not None:
            self._zygote.kill()
            self._zygote.wait()
            self._zygote.stdin.close()  # type: ignore[union-attr]
            self._zygote.stdout.close()  # type: ignore[union-attr]


class Stage:
    """A shop and an executor that is quick. `executor.faults` says what happens to which run."""

    def __init__(self, directory: Path, executor: Forked, database: str = "") -> None:
        self.shop, self.executor = Shop(directory, database), executor
        executor._directory = directory / "jobs"
        executor.faults = lambda run_id: None

    def run(self, *jobs: Job, pace: Pace = QUICK) -> None:
        """Watch until these jobs have ended."""
        watch = self.shop.watch(self.executor, pace)
        watch.start()
        try:
            until(ended(self.shop, *jobs), 600, str([self.shop.messages(job)[-4:] for job in jobs]))
            until(lambda: not watch._runs)
        finally:
            watch.stop(1.0)

    def pid(self, job: Job) -> int:
        """Of its newest worker."""
        record = json.loads((self.shop.attempt(job, self.shop.get(job).attempt) / "process.json").read_text())
        return int(record["pid"])


def step_told(stage: Stage, job: Job, step: int) -> Callable[[], bool]:
    return lambda: stage.shop.get(job).progress.get("step", 0) >= step or stage.shop.get(job).finished_at is not None


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
