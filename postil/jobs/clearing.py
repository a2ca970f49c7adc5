"""What attempts leave on the disk goes when their job has ended."""

from __future__ import annotations

import shutil
from collections.abc import Set
from pathlib import Path

from postil.jobs import attempt as desk
from postil.jobs.executor import Executor
from postil.jobs.lease import Lease
from postil.store import TERMINAL

RESTLESS_SECONDS = 600.0  # so long after its end a job's directory is looked at: a worker given up may write there
MOST_CLEARED = 500  # directories in one sweep


class Clearing:
    """Keeps the directory of jobs, `root`, to what is still needed."""

    def __init__(self, root: Path, lease: Lease, executor: Executor) -> None:
        self._root, self._lease, self._executor = root, lease, executor
        self._ended: dict[str, float] = {}
        self._clean: set[str] = set()

    def ended(self, job_id: str, now: float) -> None:
        """A job has ended, or an attempt at it."""
        self.tidy(job_id)
        self._ended[job_id] = now

    def tidy(self, job_id: str) -> bool:
        """Of an ended job only the last attempt's events, log and outcome stay. Says whether more was there."""
        row = self._lease.get(job_id)
        root = self._root / job_id
        if row is not None and row.status not in TERMINAL:
            return False
        last = root / f"attempt-{row.attempt}" if row is not None else None
        rests = [path for path in root.iterdir() if path != last] if root.exists() else []
        if last is not None and last.exists():
            rests += [path for path in last.iterdir() if path.name == desk.RUN or path.name.startswith(".")]
        for path in rests:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if row is None:
            shutil.rmtree(root, ignore_errors=True)
        return bool(rests)

    def clear_away(self, now: float, busy: Set[str]) -> None:
        """What jobs leave that have ended: also while they waited, or while no server was there to see it.

        busy: jobs that a worker is at.
        """
        names = {path.name for path in self._root.iterdir()} - busy - self._clean if self._root.exists() else set()
        over = self._lease.ended(sorted(names)[:MOST_CLEARED])
        alive = self._executor.reattach() if over else []
        for job_id in over:
            for run_id in alive:
                if run_id.startswith(f"{job_id}:"):
                    self._executor.stop(run_id, 0.0)
            more = self.tidy(job_id)
            if more:
                self._ended.setdefault(job_id, now)
            if not more and now - self._ended.get(job_id, float("-inf")) > RESTLESS_SECONDS:
                self._clean.add(job_id)
                self._ended.pop(job_id, None)
