"""The queue as the watch sees it: claim a job, and write what its worker told, as long as its attempt counts.

Every write but the claim finds the row by (id, attempt, server, claimed); a row that is not found any more means that
somebody cancelled the job, another attempt has begun or another server looks after it, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import and_, case, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from postil.jobs.ledger import end, finite, held, pause, tell, tell_code
from postil.store import TERMINAL, Store, now
from postil.store.tables import Job, JobEvent, Server

MOST_LOST = 5  # attempts in a row without a new checkpoint
VALIDATING = {"memory_mb": 700, "cpus": 0, "gpus": 0}  # what looking at the data needs; it may share the cores
NUMBERS = {"memory_mb": int, "cpus": float, "gpus": float}  # of what a job needs
WAITING = ("validating_files", "queued")
FREE = (Job.status.in_(WAITING), ~Job.claimed, Job.hold.is_(None))  # conditions of a job that may begin
ONCE = {"sample": ("step", "place"), "rows_left_out": ("file", "reason")}  # events that are told once for each of these
RENAMED = {"loss": "train_loss", "validation_loss": "valid_loss"}


class Turn(NamedTuple):
    """A job that waits, with no more of it than its turn depends on."""

    id: str
    status: str
    needs: dict[str, Any]
    priority: int
    seq: int


class Lease:
    """What one server may do with jobs. `server`: its name in the rows that it looks after."""

    def __init__(self, store: Store, server: str) -> None:
        self._store, self._database, self.server = store, store.database, server

    # ── begin ──

    def waiting(self, most: int = 50, after: Turn | None = None) -> Sequence[Turn]:
        """Who waits for a worker, in order; `after`: those that come after this one."""
        query = select(Job.id, Job.status, Job.needs, Job.priority, Job.seq).where(*FREE)
        if after is not None:
            later = and_(Job.priority == after.priority, Job.seq > after.seq)
            query = query.where(or_(Job.priority < after.priority, later))
        with self._database.read() as session:
            rows = session.execute(query.order_by(Job.priority.desc(), Job.seq).limit(most))
            return [Turn(*row) for row in rows]

    def claim(self, job_id: str) -> Job | None:
        """The job with a new attempt, for this server alone; None when somebody else was first. One statement.

        A server that the others have taken for dead gets none before it has said that it lives: they would take it.
        """
        free = select(Job.seq).where(Job.id == job_id, *FREE, exists().where(Server.id == self.server))
        claimed = (
            update(Job)
            .where(Job.seq == free.with_for_update(skip_locked=True).scalar_subquery())
            .values(
                attempt=Job.attempt + 1, claimed=True, server=self.server, read_bytes=0,
                status=case((Job.status == "queued", "running"), else_=Job.status),
                started_at=case((Job.status == "queued", func.coalesce(Job.started_at, now())), else_=Job.started_at),
            )
            .returning(Job)
        )  # fmt: skip
        with self._database.write() as session:
            job = session.scalar(claimed)
            if job is not None and job.status == "running":
                tell(
                    session, job, "Fine-tuning job started" if job.kind == "training" else "Job started", key="started"
                )
        return job

    def adopt(self, dead: str) -> None:
        """The jobs of a server that is gone are ours now."""
        with self._database.write() as session:
            session.execute(update(Job).where(Job.server == dead, Job.claimed).values(server=self.server))
            session.execute(delete(Server).where(Server.id == dead))

    def ours(self) -> Sequence[Job]:
        """The jobs that this server has claimed."""
        with self._database.read() as session:
            return session.scalars(select(Job).where(Job.server == self.server, Job.claimed)).all()

    def get(self, job_id: str) -> Job | None:
        with self._database.read() as session:
            return session.scalar(select(Job).where(Job.id == job_id))

    # ── while it runs ──

    def heard(self, job: Job, lines: Sequence[Mapping[str, Any]], read_bytes: int) -> bool:
        """Write down what the worker told since the last time. False: it does not count any more."""
        with self._database.write() as session:
            row = held(session, job)
            if row is None:
                return False
            for line in lines:
                self._one(session, row, dict(line))
            row.read_bytes = read_bytes
        return True

    def _one(self, session: Session, job: Job, line: dict[str, Any]) -> None:
        kind, level = line.pop("type"), line.pop("level", "info")
        line.pop("at", None)
        left = line.get("seconds_left")
        if kind in ("stage", "metrics", "answers"):
            kept = {name: value for name, value in job.progress.items() if name != "seconds_left"}
            job.progress = {**kept, **finite(line)}
            job.estimated_finish = now() + int(left) if isinstance(left, int | float) else job.estimated_finish
        if kind == "metrics":
            data = {RENAMED.get(name, name): value for name, value in finite(line).items()}
            tell(session, job, _step_words(data), type_="metrics", data=data, key=f"metrics:{data['step']}")
            if "train_loss" not in data:
                tell_code(session, job, "not_finite", level="warn", key=f"not_finite:{data['step']}", step=data["step"])
        elif kind == "checkpoint":
            step = int(line["step"])
            if step > job.last_checkpoint:
                job.last_checkpoint, job.without_progress = step, 0
            if step:
                tell(session, job, f"Checkpoint created at step {step}", data={"step": step}, key=f"checkpoint:{step}")
        elif kind == "message":
            code = line.pop("code")
            if code == "resumed":
                job.resumed_from = [*job.resumed_from, line["step"]]
            by = ONCE.get(code)  # an attempt that begins anew tells it again
            key = ":".join([code, *(str(line[name]) for name in by)])[:64] if by else None
            tell_code(session, job, code, level=level, key=key, **line)

    # ── ends of an attempt ──

    def validated(self, job: Job, told: Mapping[str, Any]) -> bool:
        """The data is good and the plan stands: it waits for its turn to train."""
        needs = {name: kind(told["needs"][name]) for name, kind in NUMBERS.items() if name in told["needs"]}
        with self._database.write() as session:
            row = held(session, job)
            if row is None:
                return False
            row.status, row.needs = "queued", needs
            row.resolved = {**told["plan"], "examples": told["examples"], "estimate": told["estimate"]}
            row.without_progress = 0
            tell(session, row, "Files validated, moving job to queued state", key="validated")
            self._let_go(session, row)
        return True

    def back(self, job: Job, *, hold: str | None = None) -> bool:
        """Back into the queue without blame: the server stops, a pause was wished, or the disk is full."""
        with self._database.write() as session:
            row = held(session, job)
            if row is None:
                return False
            self._let_go(session, row)
            if hold and row.hold is None and row.status != "paused":
                row.hold = hold
                tell_code(session, row, hold, level="warn")
        return True

    def lost(self, job: Job, reason: Mapping[str, str] | str) -> bool:
        """Its worker is gone: again, from the last checkpoint, unless that has happened too often without progress.

        reason: in every language, or as the system says it.
        """
        from postil.errors import JobError

        with self._database.write() as session:
            row = held(session, job)
            if row is None:
                return False
            row.without_progress += 1
            if row.without_progress >= MOST_LOST:
                error = JobError("worker_lost", times=row.without_progress, reason=reason)
                self._fail(session, row, {"code": "worker_lost", "postil": error.code, "message": error.cause("en"),
                                          "remedy": error.remedy("en"), "values": error.values})  # fmt: skip
                return True
            tell_code(session, row, "worker_lost", level="warn", reason=reason, step=row.last_checkpoint)
            self._let_go(session, row)
        return True

    def _let_go(self, session: Session, job: Job) -> None:
        """No worker is at it any more: it waits for the next one, or rests if that was wished meanwhile."""
        job.claimed, job.estimated_finish = False, None
        job.status = "queued" if job.status == "running" else job.status
        if job.wish == "pause":
            pause(session, job)

    def failed(self, job: Job, told: Mapping[str, Any]) -> bool:
        """It cannot succeed; `told`: the worker's outcome."""
        with self._database.write() as session:
            row = held(session, job)
            if row is None:
                return False
            self._fail(session, row, told)
        return True

    def _fail(self, session: Session, job: Job, told: Mapping[str, Any]) -> None:
        parameter = "training_file" if told["code"] in ABOUT_DATA else None
        words = " ".join(str(told[name]) for name in ("message", "remedy") if told.get(name))
        job.error = {"code": told["code"], "message": words, "param": parameter, "postil": told["postil"],
                     "values": dict(told.get("values", {})), "rows": list(told.get("rows", ()))}  # fmt: skip
        end(job, "failed")
        tell_code(session, job, "job_failed", level="error", key="end", message=words)

    # ── holds, and other servers ──

    def release(self, hold: str) -> None:
        """What `hold` stood for is over."""
        with self._database.write() as session:
            session.execute(update(Job).where(Job.hold == hold).values(hold=None))

    def hold(self, hold: str) -> None:
        """Nobody who waits may begin, and each is told why."""
        if not self.waiting(1):
            return
        with self._database.write() as session:
            for row in session.scalars(select(Job).where(*FREE).with_for_update(skip_locked=True)):
                row.hold = hold
                tell_code(session, row, hold, level="warn")

    def warn(self, job_id: str, code: str, **values: Any) -> None:
        """Tell once why a job waits."""
        from postil.jobs.ledger import locked

        with self._database.write() as session:
            tell_code(session, locked(session, job_id), code, level="warn", key=code, **values)

    def beat(self, host: str, process: str, namespace: str = "") -> None:
        """Say that this server lives: on which host, as which process of which table of processes."""
        with self._database.write() as session:
            row = session.get(Server, self.server)
            if row is None:
                session.add(Server(id=self.server, host=host, process=process, namespace=namespace, beat=1))
            else:
                row.beat += 1

    def servers(self) -> Sequence[Server]:
        """All that say so."""
        with self._database.read() as session:
            return session.scalars(select(Server)).all()

    def leave(self) -> None:
        """This server ends in good order."""
        with self._database.write() as session:
            session.execute(delete(Server).where(Server.id == self.server))

    def orphans(self) -> Sequence[str]:
        """Servers that jobs name and that nobody knows any more."""
        known = select(Server.id)
        query = select(Job.server).where(Job.claimed, Job.server.not_in(known)).distinct()
        with self._database.read() as session:
            return [name for name in session.scalars(query) if name is not None]

    def ended(self, job_ids: Sequence[str]) -> Sequence[str]:
        """Which of these have ended, or are no jobs any more."""
        with self._database.read() as session:
            going = select(Job.id).where(Job.id.in_(job_ids), Job.status.not_in(TERMINAL))
            return sorted(set(job_ids) - set(session.scalars(going)))

    def metrics(self, job_id: str) -> list[dict[str, Any]]:
        """What was measured, step by step."""
        query = select(JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.type == "metrics")
        with self._database.read() as session:
            told = [data for data in session.scalars(query.order_by(JobEvent.number)) if data]
        return sorted(told, key=lambda data: int(data["step"]))


ABOUT_DATA = ("invalid_n_examples", "invalid_training_file", "no_trainable_tokens", "example_too_long")


def _step_words(data: Mapping[str, Any]) -> str:
    """OpenAI's sentence, which tools match."""
    words = f"Step {data['step']}/{data['total_steps']}: training loss={data.get('train_loss', 0.0):.2f}"
    return words + (f", validation loss={data['valid_loss']:.2f}" if "valid_loss" in data else "")
