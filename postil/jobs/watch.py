"""The server's loop: starts workers where there is room, reads what they tell, and notices when one is gone.

A worker is gone when its process is, or when its beat has not changed for half a minute of this process's own monotonic
clock. No two clocks are ever compared. Workers outlive the server; a new one takes them up again.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from postil.errors import StoreError
from postil.jobs import attempt as desk
from postil.jobs.executor import Executor, RunSpec, RunState, Slot
from postil.jobs.lease import VALIDATING, Lease
from postil.jobs.local import LocalExecutor, identity, is_alive
from postil.jobs.publish import Publisher
from postil.locales import in_all
from postil.settings import for_worker
from postil.store import FULL, TERMINAL, Store, free_bytes, letters, make_directory, sync_directory, write_json
from postil.store.tables import File, Job

log = logging.getLogger(__name__)
PROGRAM = ("-m", "postil.jobs.run")
ROOM_AGAIN_BYTES = 256 << 20
ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".xlsx", ".xlsm", ".xls", ".xlsb", ".ods", ".parquet")
RESTLESS_SECONDS = 600.0  # so long after its end a job's directory is looked at: a worker given up may write there
MOST_CLEARED = 500  # directories in one sweep
MOST_VALIDATING = 2  # at once
UNREADABLE = (LookupError, TypeError, ValueError)  # of files of a worker that are not what they should be
PASSED_OVER = 10  # so often smaller jobs may go before one that does not fit yet


@dataclass
class Watched:
    """A run that we look after."""

    job: Job
    directory: Path
    read_bytes: int
    beat: str = ""
    beat_at: float = 0.0
    wish: str | None = None


@dataclass(frozen=True)
class Pace:
    """Seconds: between two looks; without a beat until a worker is lost; for it to end by itself; between sweeps."""

    tick: float = 0.5
    silence: float = 30.0
    grace: float = 25.0
    sweep: float = 5.0


class Watch:
    """Looks after the jobs of one store.

    measure: let plans measure this machine (tests do not). make_room: gives memory back that others hold here without
    need, and says whether there was any; it is called when a job would start if it had more.
    """

    def __init__(self, store: Store, executor: Executor | None = None, *, pace: Pace = Pace(), measure: bool = True,
                 program: Sequence[str] = PROGRAM, room_bytes: int = ROOM_AGAIN_BYTES,
                 make_room: Callable[[], bool] = lambda: False) -> None:  # fmt: skip
        self._store, self._pace, self._measure, self._program = store, pace, measure, tuple(program)
        self._executor = executor or LocalExecutor(store.directory / "jobs")
        self._identity, self._room_bytes, self._make_room = identity(os.getpid()), room_bytes, make_room
        self.lease = Lease(store, f"server_{letters(16)}")
        self._publisher = Publisher(store)
        self._runs: dict[str, Watched] = {}
        self._servers: dict[str, tuple[int, float]] = {}
        self._passed: dict[str, int] = {}
        self._ended: dict[str, float] = {}
        self._clean: set[str] = set()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._swept = self._looked_around = float("-inf")

    # ── life ──

    def start(self) -> None:
        """Take up what runs already, then watch in a thread of its own."""
        self._store.blobs.tidy()
        self._thread = threading.Thread(target=self._loop, name="watch", daemon=True)
        self._thread.start()

    def stop(self, grace: float | None = None) -> None:
        """Let every worker save a checkpoint and end; their jobs wait for the next start. Takes at most `grace` s."""
        self._stopping.set()
        if self._thread:
            self._thread.join()
        grace = self._pace.grace if grace is None else grace
        until = time.monotonic() + grace + 2
        for run_id in self._runs:
            self._executor.stop(run_id, grace)
        while self._runs and time.monotonic() < until:
            for run_id in list(self._runs):
                self._guarded(self._look, run_id)
            time.sleep(0.05)
        self._guarded(self.lease.leave)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._guarded(self.tick)
            self._stopping.wait(self._pace.tick)

    def _guarded(self, step: Any, *arguments: Any) -> None:
        """The loop goes on whatever the disk or the database refuses; what was not done is done at the next look."""
        try:
            step(*arguments)
        except (StoreError, OSError) as error:
            log.warning("the watch could not finish a step: %s", error)

    def tick(self) -> None:
        """One look at everything."""
        if time.monotonic() - self._looked_around > min(2.0, self._pace.silence / 3):
            self._look_around()
            self._looked_around = time.monotonic()
        for run_id in list(self._runs):
            self._guarded(self._look, run_id)
        self._sweep()
        if not self._stopping.is_set():
            self._fill()

    # ── start workers ──

    def _fill(self) -> None:
        """Start who fits, in order. One that does not fit is passed over a few times at most."""
        waiting = self.lease.waiting()
        if not waiting:
            return
        slots: Sequence[Slot] = self._executor.capacity()
        total = max((slot.total_memory_mb for slot in slots), default=0)
        for job in waiting:
            validates = job.status == "validating_files"
            if validates and self._validating() >= MOST_VALIDATING:
                continue
            needs = VALIDATING if validates else {**VALIDATING, **job.needs}
            slots = self._with_room(slots, needs)
            if any(slot.fits(**needs) for slot in slots):
                self._passed.pop(job.id, None)
                if needs["gpus"] or (validates and any(slot.total_gpus for slot in slots)):
                    self._make_room()  # a card's memory is in no slot: it is to be as free as it can be
                self._begin(job.id, needs)
                slots = self._executor.capacity()
                continue
            if needs["memory_mb"] > total:
                self.lease.warn(job.id, "too_large_here", needed=needs["memory_mb"], total=total)
                continue
            if needs["gpus"] > max((slot.total_gpus for slot in slots), default=0):
                self.lease.warn(job.id, "no_gpu_here")
                continue
            self._passed[job.id] = self._passed.get(job.id, 0) + 1
            if self._passed[job.id] > PASSED_OVER:
                return

    def _with_room(self, slots: Sequence[Slot], needs: Mapping[str, Any]) -> Sequence[Slot]:
        """The slots, with more memory if that is all that is missing and others can give it back."""
        free = max((slot.memory_mb for slot in slots), default=0)
        if needs["memory_mb"] <= free or not any(replace(s, memory_mb=s.total_memory_mb).fits(**needs) for s in slots):
            return slots
        return self._executor.capacity() if self._make_room() else slots

    def _validating(self) -> int:
        return sum(watched.job.status == "validating_files" for watched in self._runs.values())

    def _begin(self, job_id: str, needs: dict[str, Any]) -> None:
        job = self.lease.claim(job_id)
        if job is None:
            return
        directory = desk.place(self._store.directory, job.id, job.attempt)
        try:
            self._launch(job, directory, needs)
        except StoreError as error:
            if error.code == "storage_full":
                self.lease.back(job, hold="storage_full")
            elif error.code in ("input_damaged", "file_not_found", "model_not_found"):
                self.lease.failed(job, {"code": "invalid_training_file", "postil": error.code,
                                        "message": error.cause("en"), "remedy": error.remedy("en"),
                                        "values": error.values})  # fmt: skip
            else:
                self.lease.back(job)
                raise
        except OSError as error:
            if error.errno in FULL:
                self.lease.back(job, hold="storage_full")
            else:
                self.lease.lost(job, error.strerror or type(error).__name__)

    def _launch(self, job: Job, directory: Path, needs: dict[str, Any]) -> None:
        make_directory(directory)
        earlier = self._earlier(job)
        for one in earlier:
            desk.fence(one, job.attempt)
        spec = {
            "job": job.id, "attempt": job.attempt, "kind": job.kind, "directory": str(directory),
            "phase": "validate" if job.status == "validating_files" else "work",
            "earlier": [str(one) for one in earlier], "inputs": self._inputs(job), "seed": job.seed, "wish": job.wish,
            "measure": self._measure, "integrations": job.request.get("integrations", []), **job.order,
            "adapter": str(self._store.directory / job.order["adapter"]) if job.order["adapter"] else None,
        }  # fmt: skip
        write_json(directory / desk.SPEC, spec)
        desk.fence(directory, job.attempt, job.wish)
        run = RunSpec(f"{job.id}:{job.attempt}", (*self._program, "--spec", str(directory / desk.SPEC)),
                      for_worker(downloads=job.kind == "base"),
                      str(directory), cpus=needs["cpus"], gpus=needs["gpus"], memory_mb=needs["memory_mb"])  # fmt: skip
        self._executor.launch(run)
        self._take(job, directory, run.run_id)

    def _take(self, job: Job, directory: Path, run_id: str) -> None:
        self._runs[run_id] = Watched(job, directory, job.read_bytes, beat_at=time.monotonic(), wish=job.wish)

    def _earlier(self, job: Job) -> list[Path]:
        """The directories of the attempts before this one, newest first. Those that nobody can need any more go."""
        numbers = range(job.attempt - 1, 0, -1)
        found = [one for number in numbers if (one := desk.place(self._store.directory, job.id, number)).exists()]
        with_checkpoint = [one for one in found if any((one / desk.RUN / "checkpoints").glob("step-*"))]
        for one in found[found.index(with_checkpoint[1]) + 1 :] if len(with_checkpoint) > 1 else []:
            shutil.rmtree(one, ignore_errors=True)
        return [one for one in found if one.exists()]

    def _inputs(self, job: Job) -> dict[str, dict[str, str]]:
        """The job's files, laid beside its attempts under plain names."""
        inputs = {}
        for name, file_id in (("training", job.training_file), ("validation", job.validation_file)):
            if file_id is None:
                continue
            row = self._store.files.get(job.project, file_id)
            path = self._store.directory / "jobs" / job.id / "inputs" / (name + _suffix(row))
            make_directory(path.parent)
            if not path.exists():
                beside = path.with_name(f".{path.name}.tmp")
                self._copy(row, beside)
                beside.replace(path)
                sync_directory(path.parent)
            inputs[name] = {"path": str(path), "sha256": row.sha256}
        return inputs

    def _copy(self, row: File, path: Path) -> None:
        try:
            self._store.blobs.copy_to(row.sha256, path)
        except StoreError as error:
            path.unlink(missing_ok=True)
            if error.code not in ("bytes_missing", "bytes_changed"):
                raise
            raise StoreError("input_damaged", name=row.filename, file=row.id) from error

    # ── look after them ──

    def _look(self, run_id: str) -> None:
        """One look at one run. One that wrote what cannot be read is given up, and holds up no other."""
        watched = self._runs[run_id]
        try:
            self._look_at(run_id, watched)
        except UNREADABLE as error:
            log.exception("what %s wrote cannot be read", run_id)
            self._give_up(run_id, watched, in_all("lost.unreadable", detail=f"{type(error).__name__}: {error}"))

    def _look_at(self, run_id: str, watched: Watched) -> None:
        state = self._executor.poll(run_id)  # before its events are read: then all that it told is there
        counts = self._listen(watched)
        if state.over:
            self._settle(watched, state)
            del self._runs[run_id]  # only now: what could not be written is tried again at the next look
            return
        if not counts:
            desk.fence(watched.directory, watched.job.attempt + 1)
            self._executor.stop(run_id, 3.0)
            return
        self._say_wish(watched)
        beat = desk.read_beat(watched.directory)
        if beat != watched.beat:
            watched.beat, watched.beat_at = beat, time.monotonic()
        elif time.monotonic() - watched.beat_at > self._pace.silence:
            self._give_up(run_id, watched, in_all("lost.silent"))

    def _give_up(self, run_id: str, watched: Watched, reason: Mapping[str, str]) -> None:
        """Silent, or not understood: it is fenced, ended if it can be reached, and done again by another attempt."""
        desk.fence(watched.directory, watched.job.attempt + 1)
        self._executor.stop(run_id, 0.0)
        self.lease.lost(watched.job, reason)
        del self._runs[run_id]

    def _listen(self, watched: Watched) -> bool:
        """Take over what it told. False when its attempt does not count any more."""
        lines, end = desk.read_events(watched.directory, watched.read_bytes)
        row = self.lease.get(watched.job.id)
        if row is None or row.attempt != watched.job.attempt or not row.claimed:
            return False
        watched.job = row
        if not lines:
            return True
        if not self.lease.heard(row, lines, end):
            return False
        watched.read_bytes = end
        for line in lines:
            if line["type"] == "checkpoint" and line["step"]:
                self._publisher.checkpoint(row, watched.directory, line["step"])
        return True

    def _say_wish(self, watched: Watched) -> None:
        if watched.job.wish != watched.wish:
            watched.wish = watched.job.wish
            desk.fence(watched.directory, watched.job.attempt, watched.wish)

    def _settle(self, watched: Watched, state: RunState) -> None:
        """The run is over: what it said at its end, or what must have happened to it."""
        job, outcome = watched.job, desk.read_outcome(watched.directory)
        if outcome is None:
            if state.code == desk.STORAGE_FULL:
                self.lease.back(job, hold="storage_full")
            elif self._stopping.is_set():
                self.lease.back(job)
            else:
                self.lease.lost(job, _reason(state))
        elif outcome["outcome"] == "succeeded":
            self._publish(job, watched.directory, outcome)
        elif outcome["outcome"] == "validated":
            self.lease.validated(job, outcome)
        elif outcome["outcome"] == "failed":
            self._failed(job, outcome)
        else:
            self.lease.back(job)
        self._tidy(job.id)
        self._ended[job.id] = time.monotonic()

    def _failed(self, job: Job, outcome: dict[str, Any]) -> None:
        if outcome["postil"] == "storage_full":
            self.lease.back(job, hold="storage_full")
        elif outcome["retryable"]:
            self.lease.lost(job, _cause(outcome))
        else:
            self.lease.failed(job, outcome)

    def _publish(self, job: Job, directory: Path, outcome: dict[str, Any]) -> None:
        try:
            self._publisher.succeed(job, directory, outcome, self.lease.metrics(job.id))
        except StoreError as error:
            if error.code not in ("bytes_changed", "storage_full"):
                raise
            if error.code == "storage_full":
                self.lease.back(job, hold="storage_full")
            else:
                self.lease.lost(job, in_all(f"error.{error.code}.cause", **error.values))

    def _tidy(self, job_id: str) -> bool:
        """Of an ended job only the last attempt's events, log and outcome stay. Says whether more was there."""
        row = self.lease.get(job_id)
        root = self._store.directory / "jobs" / job_id
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

    # ── now and then ──

    def _look_around(self) -> None:
        """Beat, and take over the jobs of servers that are gone."""
        host, now = platform.node(), time.monotonic()
        for row in self.lease.beat(host, self._identity):
            if row.id == self.lease.server:
                continue
            beat, since = self._servers.get(row.id, (row.beat, now))
            self._servers[row.id] = (row.beat, now if row.beat != beat else since)
            here = row.host == host
            if (here and not is_alive(row.process)) or (not here and now - since > self._pace.silence):
                self._adopt(row.id)
        for name in self.lease.orphans():
            self._adopt(name)

    def _adopt(self, server: str) -> None:
        jobs = self.lease.adopt(server)
        self._executor.reattach()
        for job in jobs:
            directory = desk.place(self._store.directory, job.id, job.attempt)
            run_id = f"{job.id}:{job.attempt}"
            self._take(job, directory, run_id)

    def _sweep(self) -> None:
        """Room on the disk lets jobs go on; what has expired goes."""
        now = time.monotonic()
        if now - self._swept < self._pace.sweep:
            return
        self._swept = now
        if free_bytes(self._store.directory) > self._room_bytes:
            self.lease.release("storage_full")
        self._store.files.expire()
        self._clear_away(now)
        self._publisher.tidy(3600.0)

    def _clear_away(self, now: float) -> None:
        """What jobs leave that have ended: also while they waited, or while no server was there to see it."""
        busy = {watched.job.id for watched in self._runs.values()}
        root = self._store.directory / "jobs"
        names = {path.name for path in root.iterdir()} - busy - self._clean if root.exists() else set()
        rests = self.lease.ended(sorted(names)[:MOST_CLEARED])
        alive = self._executor.reattach() if rests else []
        for job_id in rests:
            for run_id in alive:
                if run_id.startswith(f"{job_id}:"):
                    self._executor.stop(run_id, 0.0)
            found = self._tidy(job_id)
            if found:
                self._ended.setdefault(job_id, now)
            if not found and now - self._ended.get(job_id, float("-inf")) > RESTLESS_SECONDS:
                self._clean.add(job_id)
                self._ended.pop(job_id, None)


def _reason(state: RunState) -> dict[str, str]:
    """What has become of its process, in every language."""
    if state.signal is not None:
        return in_all("lost.killed" if state.signal == 9 else "lost.signal", signal=state.signal)
    return in_all("lost.exit", number=state.code) if state.code is not None else in_all("lost.gone")


def _cause(outcome: Mapping[str, Any]) -> Mapping[str, str] | str:
    """What a worker said of its end, in every language if its sentence is known here."""
    try:
        return in_all(f"error.{outcome['postil']}.cause", **outcome.get("values", {}))
    except KeyError:  # a worker of another version
        return str(outcome["message"])


def _suffix(row: File) -> str:
    """The ending by which the reader tells CSV from text; nothing else of a name reaches the disk."""
    ending = "." + row.filename.rpartition(".")[2].lower()
    return ending if ending in ENDINGS else ""
