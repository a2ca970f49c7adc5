"""The server's loop: starts workers where there is room, reads what they tell, and notices when one is gone.

A worker is gone when its process is, or when its beat has not changed for half a minute of this process's own monotonic
clock, unless it is seen to work all the same. No two clocks are ever compared. Workers outlive the server; a new one
takes them up again. So a loop that ends by a fault of ours is followed by another, which begins as a new server would.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from postil.errors import PostilError, StoreError
from postil.jobs import attempt as desk
from postil.jobs.clearing import Clearing
from postil.jobs.executor import Executor, RunState
from postil.jobs.launch import Launcher
from postil.jobs.lease import Lease
from postil.jobs.local import LocalExecutor
from postil.jobs.publish import Publisher
from postil.jobs.roll import Roll
from postil.jobs.turns import Turns
from postil.locales import in_all, speak_to_clients
from postil.store import FULL, Store, free_bytes, letters
from postil.store.tables import Job

log = logging.getLogger(__name__)
PROGRAM = ("-m", "postil.jobs.worker")
ROOM_AGAIN_BYTES = 256 << 20  # nothing begins below it; what waits for room goes on a little above it
UNREADABLE = (LookupError, TypeError, ValueError)  # of files of a worker that are not what they should be
REFUSED = (PostilError, SQLAlchemyError, OSError)  # by the disk, the database or the system: tried again later
STALLED_SECONDS = 600.0  # one step may copy large files from afar
LONGEST_PAUSE = 60.0  # seconds between two loops that die at once


@dataclass
class Watched:
    """A run that we look after. `beat`: the last seen, and since when; `pulse`: the same, once the beat is late."""

    job: Job
    directory: Path
    read_bytes: int
    beat: str = ""
    beat_at: float = 0.0
    looked_at: float = 0.0
    pulse: str = ""
    pulse_at: float = float("-inf")
    wish: str | None = None


@dataclass(frozen=True)
class Pace:
    """Seconds: between two looks; without a beat until a worker is lost, where it does nothing else either; the same
    until its first beat, and where its process works all the same; for it to end by itself; between sweeps."""

    tick: float = 0.5
    silence: float = 30.0
    patience: float = 600.0
    grace: float = 25.0
    sweep: float = 5.0


class Watch:
    """Looks after the jobs of one store.

    measure: let plans measure this machine (tests do not). make_room: gives memory back that others hold here without
    need, and says whether there was any; it is called when a job would start if it had more.
    """

    def __init__(self, store: Store, executor: Executor | None = None, *, pace: Pace = Pace(), measure: bool = True,
                 program: Sequence[str] = PROGRAM, room_bytes: int = ROOM_AGAIN_BYTES,
                 make_room: Callable[[], bool] = lambda: False, clock: Callable[[], float] = time.monotonic,
                 ) -> None:  # fmt: skip
        self._store, self._pace, self._clock = store, pace, clock
        self._executor = executor or LocalExecutor(store.directory / "jobs")
        self._room_bytes, self._make_room = room_bytes, make_room
        self._publisher = Publisher(store)
        self._launcher = Launcher(store, self._executor, program, measure=measure)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._keeper: threading.Thread | None = None
        self._round_at, self._deaths = clock(), 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Nothing is known but what the database and the directories say, and nobody knows us yet."""
        self.lease = Lease(self._store, f"server_{letters(16)}")
        self._roll = Roll(self.lease, self._pace.silence, self._clock)
        self._turns = Turns(self.lease, self._executor, self._begin, self._validating, self._make_room)
        self._clearing = Clearing(self._store.directory / "jobs", self.lease, self._executor)
        self._runs: dict[str, Watched] = {}
        self._swept = self._looked_around = float("-inf")

    # ── life ──

    def start(self) -> None:
        """Take up what runs already, then watch in a thread of its own."""
        self._store.blobs.tidy()
        self._begin_loop()
        self._keeper = threading.Thread(target=self._keep, name="watch-keeper", daemon=True)
        self._keeper.start()

    def alive(self) -> bool:
        """Whether jobs are looked after: the loop runs, and came round in the last minutes."""
        running = self._thread is not None and self._thread.is_alive()
        return running and self._clock() - self._round_at < STALLED_SECONDS

    def stop(self, grace: float | None = None) -> None:
        """Let every worker save a checkpoint and end; their jobs wait for the next start. Takes at most `grace` s."""
        self._stopping.set()
        if self._keeper:
            self._keeper.join()  # it may have begun another loop
        if self._thread:
            self._thread.join()
        grace = self._pace.grace if grace is None else grace
        until = time.monotonic() + grace + 2
        self._look_at_all()  # what others have taken over is no longer ours to stop
        for run_id in self._runs:
            self._executor.stop(run_id, grace)
        while self._runs and time.monotonic() < until:
            self._look_at_all()
            time.sleep(0.05)
        self._guarded(self.lease.leave)

    def _begin_loop(self) -> None:
        self._round_at = self._clock()
        self._thread = threading.Thread(target=self._loop, name="watch", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        speak_to_clients()  # what it writes of a job is read by clients
        while not self._stopping.is_set():
            if self.tick():
                self._round_at, self._deaths = self._clock(), 0
            self._stopping.wait(self._pace.tick)

    def _keep(self) -> None:
        """Beat while the loop is at a long step, and follow one that has died by another."""
        while not self._stopping.wait(self._beat_seconds()):
            if self.alive():
                self._guarded(self._roll.beat)
            elif self._thread is not None and not self._thread.is_alive():
                self._revive()

    def _revive(self) -> None:
        self._deaths += 1
        pause = min(LONGEST_PAUSE, self._beat_seconds() * 2 ** min(self._deaths, 10))
        log.critical("the watch over the jobs ended by a fault of ours; another begins in %.0f s", pause)
        self._guarded(self.lease.leave)
        if not self._stopping.wait(pause):
            self._begin_anew()
            self._begin_loop()

    def _beat_seconds(self) -> float:
        return max(0.01, min(2.0, self._pace.silence / 3))

    def _guarded(self, step: Any, *arguments: Any) -> bool:
        """The loop goes on whatever the disk or the database refuses; what was not done is done at the next look."""
        try:
            step(*arguments)
        except REFUSED as error:
            log.warning("the watch could not finish a step: %s", error)
            return False
        return True

    def tick(self) -> bool:
        """One look at everything; what one step is refused holds up no other. Whether all could be done."""
        now = self._clock()
        sweeps = now - self._swept >= self._pace.sweep
        whole = now - self._looked_around <= self._beat_seconds() or self._guarded(self._look_around, now)
        self._look_at_all()
        if sweeps:
            self._swept = now
            for step in (self._make_go_on, self._store.files.expire, self._clear_away, self._publisher.tidy):
                whole &= self._guarded(step)
        return (self._stopping.is_set() or self._guarded(self._fill, sweeps)) and whole

    # ── start workers ──

    def _fill(self, deep: bool) -> None:
        """Start who may, where the disk has room for what they will write."""
        if free_bytes(self._store.directory) < self._room_bytes:
            self.lease.hold("storage_full")
            return
        if self._roll.has_neighbours and self.lease.waiting(1):
            self._executor.reattach()  # what they have started takes room here, too
        self._turns.give(deep=deep)

    def _validating(self) -> int:
        return sum(watched.job.status == "validating_files" for watched in self._runs.values())

    def _begin(self, job_id: str, needs: Mapping[str, Any]) -> bool:
        """Begin an attempt. False when nothing was started: somebody else was first, or it cannot be now."""
        job = self.lease.claim(job_id)
        if job is None:
            return False
        directory = desk.place(self._store.directory, job.id, job.attempt)
        try:
            self._take(job, directory, self._launcher.launch(job, directory, needs))
        except StoreError as error:
            self._not_begun(job, error)
            return False
        except OSError as error:
            if error.errno in FULL:
                self.lease.back(job, hold="storage_full")
            else:
                self.lease.lost(job, error.strerror or type(error).__name__)
            return False
        except UNREADABLE as error:
            log.exception("%s cannot be begun", job.id)
            self.lease.lost(job, f"it cannot be begun ({type(error).__name__}: {error})")
            return False
        return True

    def _not_begun(self, job: Job, error: StoreError) -> None:
        if error.code == "storage_full":
            self.lease.back(job, hold="storage_full")
        elif error.code in ("input_damaged", "file_not_found", "model_not_found"):
            self.lease.failed(job, {"code": "invalid_training_file", "postil": error.code,
                                    "message": error.cause("en"), "remedy": error.remedy("en"),
                                    "values": error.values})  # fmt: skip
        else:
            log.warning("%s cannot be begun yet: %s", job.id, error)
            self.lease.back(job)

    def _take(self, job: Job, directory: Path, run_id: str) -> None:
        self._runs[run_id] = Watched(
            job, directory, job.read_bytes, beat_at=self._clock(), looked_at=self._clock(), wish=job.wish
        )

    # ── look after them ──

    def _look_at_all(self) -> None:
        for run_id in list(self._runs):
            self._guarded(self._look, run_id)

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
        row = self.lease.get(watched.job.id)
        if row is not None and row.claimed and row.server != self.lease.server:
            del self._runs[run_id]  # another server has taken it over: what becomes of it is no longer ours to say
            return
        counts = self._listen(watched, row)
        if state.over or (state.phase == "apart" and desk.read_outcome(watched.directory) is not None):
            self._settle(watched, state)
            del self._runs[run_id]  # only now: what could not be written is tried again at the next look
            return
        if not counts:
            desk.fence(watched.directory, watched.job.attempt + 1)
            self._executor.stop(run_id, 3.0)
            if state.phase == "apart":
                del self._runs[run_id]  # it reads the fence, and nobody here will see its end
            return
        self._say_wish(watched)
        if self._is_silent(run_id, watched):
            self._give_up(run_id, watched, in_all("lost.silent"))

    def _is_silent(self, run_id: str, watched: Watched) -> bool:
        """Whether it gives no sign of life any more. A worker that computes or loads without a beat is held up, not
        dead; so may be one that has not come to its first beat yet. For minutes that is believed."""
        now, beat = self._clock(), desk.read_beat(watched.directory)
        if now - watched.looked_at > self._pace.silence / 2:
            watched.beat_at = now  # nobody looked for a while: perhaps both of us were frozen
        watched.looked_at = now
        if beat != watched.beat:
            watched.beat, watched.beat_at, watched.pulse, watched.pulse_at = beat, now, "", float("-inf")
            return False
        quiet = now - watched.beat_at
        if quiet <= self._pace.silence / 2:  # it is looked at early enough to see it work
            return False
        pulse = self._executor.pulse(run_id)
        if watched.pulse and pulse != watched.pulse:
            watched.pulse_at = now
        watched.pulse, works = pulse, now - watched.pulse_at <= self._pace.silence
        return quiet > (self._pace.patience if works or not beat else self._pace.silence)

    def _give_up(self, run_id: str, watched: Watched, reason: Mapping[str, str]) -> None:
        """Silent, or not understood: it is fenced, ended if it can be reached, and done again by another attempt."""
        desk.fence(watched.directory, watched.job.attempt + 1)
        self._executor.stop(run_id, 0.0)
        self.lease.lost(watched.job, reason)
        del self._runs[run_id]

    def _listen(self, watched: Watched, row: Job | None) -> bool:
        """Take over what it told; `row`: its job now. False when its attempt does not count any more."""
        lines, end = desk.read_events(watched.directory, watched.read_bytes)
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
        self._clearing.ended(job.id, self._clock())

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

    # ── now and then ──

    def _look_around(self, now: float) -> None:
        """Beat, and take over the jobs of servers that are gone.

        What is ours by the database and not looked after was adopted, or begun, and then the disk or the database
        refused the rest: it is taken up now, whatever has become of it.
        """
        for server in self._roll.gone():
            self.lease.adopt(server)
        unseen = [job for job in self.lease.ours() if _run_of(job) not in self._runs]
        if unseen:
            self._executor.reattach()
        for job in unseen:
            self._take(job, desk.place(self._store.directory, job.id, job.attempt), _run_of(job))
        self._looked_around = now

    def _make_go_on(self) -> None:
        """Room on the disk lets jobs go on."""
        if free_bytes(self._store.directory) > self._room_bytes + self._room_bytes // 8:
            self.lease.release("storage_full")

    def _clear_away(self) -> None:
        self._clearing.clear_away(self._clock(), {watched.job.id for watched in self._runs.values()})


def _run_of(job: Job) -> str:
    return f"{job.id}:{job.attempt}"


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
