"""The queue as its clients see it: create, look, cancel, pause, resume, stop and keep.

create → validating_files → queued → running → succeeded | failed | cancelled
any of the first three ── pause → paused ── resume → where it waits for what comes next;  a lost worker → queued
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from postil.errors import JobError, StoreError
from postil.jobs.ledger import end, locked, pause, tell, tell_code, waits_as
from postil.jobs.losses import Losses
from postil.jobs.order import Order
from postil.plan import known
from postil.settings import Settings
from postil.store import TERMINAL, Page, Store, letters, new_id, now
from postil.store.audit import record
from postil.store.models import find as find_model
from postil.store.pages import page
from postil.store.tables import Checkpoint, File, Job, JobEvent, JobLabel
from postil.store.uploaded import find as find_file

LOSSES = ("train_loss", "valid_loss")  # of an event of type "metrics"
ROWS_AT_ONCE = 500
PURPOSES = {"training": ("fine-tune", "user_data"), "evaluation": ("fine-tune", "evals", "user_data"),
            "answers": ("fine-tune", "evals", "user_data"), "judgement": ("user_data",), "base": (),
            "export": ()}  # fmt: skip
PREFIX = {"training": "ftjob-", "evaluation": "evaljob-", "answers": "answerjob-", "judgement": "judgejob-",
          "base": "basejob-", "export": "exportjob-"}  # fmt: skip


class Queue:
    """Jobs of all projects. What a project does not own does not exist for it."""

    def __init__(self, store: Store) -> None:
        self._store, self._database = store, store.database

    # ── create ──

    def create(self, project: str, order: Order, *, reply: str | None = None) -> Job:
        """A new job. `reply`: the remembered request (Replies) that made it, in the same transaction.

        Raises StoreError `model_not_found`, `file_not_found`; JobError `invalid_file_purpose`, `file_not_ready`,
        `model_not_tuned`, `model_not_live`.
        """
        from postil.store.replies import attach

        with self._database.write() as session:
            worker = {**self._model(session, project, order), "preset": order.preset, "reading": dict(order.reading),
                      "settings": {name: str(value) for name, value in order.settings.items()},
                      "learning_rate_multiplier": order.learning_rate_multiplier}  # fmt: skip
            for file_id, parameter in ((order.training_file, "training_file"),
                                       (order.validation_file, "validation_file")):  # fmt: skip
                if file_id is not None:
                    self._usable(find_file(session, project, file_id), order.kind, parameter)
            job = _row(project, order, worker)
            session.add(job)
            session.flush()
            session.add_all(JobLabel(job_id=job.id, name=name, value=value) for name, value in order.metadata.items())
            attach(session, reply, job.id)
            self._announce(session, job)
            act = "exported" if job.kind == "export" else "job_ordered"
            record(session, act, job.id, f"{job.kind} {job.model}", project=project)
        return job

    def _model(self, session: Session, project: str, order: Order) -> dict[str, Any]:
        """The base by its name in the catalogue (never by a path), or an adapter of ours."""
        bases = {base.name: base for base in known(Settings().home)}
        if order.model in bases:
            if order.kind not in ("training", "base"):
                raise JobError("model_not_tuned", model=order.model)
            return {"base": order.model, "adapter": None}
        if order.kind == "base":
            raise StoreError("model_not_found", model=order.model[:100])
        model = find_model(session, project, order.model)
        return {"base": model.base, "adapter": model.directory}

    def _usable(self, file: File, kind: str, parameter: str) -> None:
        if file.purpose not in PURPOSES[kind]:
            raise JobError("invalid_file_purpose", file=file.id, purpose=file.purpose, parameter=parameter)
        if file.status == "error":
            raise JobError("file_not_ready", file=file.id, details=file.status_details or "", parameter=parameter)

    def _announce(self, session: Session, job: Job) -> None:
        if job.kind != "training":
            tell(session, job, f"Created job: {job.id}", key="created")
            return
        tell(session, job, f"Created fine-tuning job: {job.id}", key="created")
        files = f"Validating training file: {job.training_file}"
        tell(session, job, files + (f" and validation file: {job.validation_file}" if job.validation_file else ""),
             key="validating")  # fmt: skip
        if job.validation_file and self._same_content(session, job):
            tell_code(session, job, "validation_is_training", level="warn")

    def _same_content(self, session: Session, job: Job) -> bool:
        named = select(func.count(func.distinct(File.sha256))).where(
            File.id.in_([str(job.training_file), str(job.validation_file)])
        )
        return session.scalar(named) == 1

    # ── look ──

    def get(self, project: str, job_id: str) -> Job:
        """Raises JobError `job_not_found`."""
        with self._database.read() as session:
            row = session.scalar(select(Job).where(Job.id == job_id, Job.project == project))
        if row is None:
            raise JobError("job_not_found", job=job_id[:80])
        return row

    def labels(self, job_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """The metadata of each of these jobs."""
        found: dict[str, dict[str, str]] = {job_id: {} for job_id in job_ids}
        with self._database.read() as session:
            for label in session.scalars(select(JobLabel).where(JobLabel.job_id.in_(job_ids))):
                found[label.job_id][label.name] = label.value
        return found

    def list(self, project: str, *, kinds: Sequence[str] = ("training",), after: str | None = None, limit: int = 20,
             metadata: Mapping[str, str] | None = None, unlabelled: bool = False,
             status: str | None = None) -> Page[Job]:  # fmt: skip
        """Newest first. `metadata`: only jobs with all these pairs; `unlabelled`: only jobs without any."""
        query = select(Job).where(Job.project == project, Job.kind.in_(kinds))
        for name, value in (metadata or {}).items():
            query = query.where(_labelled(JobLabel.name == name, JobLabel.value == value))
        if unlabelled:
            query = query.where(~_labelled())
        if status:
            query = query.where(Job.status == status)
        with self._database.read() as session:
            return page(session, Job, query, project, after, limit)

    def position(self, job: Job) -> int | None:
        """How many jobs go before it, for one that waits."""
        if job.status != "queued" or job.claimed:
            return None
        ahead = (Job.priority > job.priority) | ((Job.priority == job.priority) & (Job.seq < job.seq))
        waiting = select(func.count()).select_from(Job).where(Job.status == "queued", ~Job.claimed, ahead)
        with self._database.read() as session:
            return int(session.scalar(waiting) or 0)

    def events(self, project: str, job_id: str, *, after: str | None = None, limit: int = 20) -> Page[JobEvent]:
        """Newest first."""
        self.get(project, job_id)
        with self._database.read() as session:
            return page(session, JobEvent, select(JobEvent).where(JobEvent.job_id == job_id), job_id, after, limit,
                        place=JobEvent.number)  # fmt: skip

    def events_since(self, project: str, job_id: str, number: int, limit: int = 500) -> tuple[Job, Sequence[JobEvent]]:
        """The job as it is, and its events after `number`, oldest first: for live streams.

        Events of a job are numbered 1, 2, 3 without gaps in the order in which they become visible.
        """
        with self._database.read() as session:
            job = session.scalar(select(Job).where(Job.id == job_id, Job.project == project))
            if job is None:
                raise JobError("job_not_found", job=job_id[:80])
            if job.events <= number:
                return job, []
            query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.number > number)
            return job, session.scalars(query.order_by(JobEvent.number).limit(limit)).all()

    def news(self, after: Mapping[str, int]) -> dict[str, tuple[Job, Sequence[JobEvent]]]:
        """Jobs by their ids as they are, whosever they are, and the events of each after a number; -1: no events.

        One query, and one for each job that has new events: its own count says so.
        """
        news: dict[str, tuple[Job, Sequence[JobEvent]]] = {}
        with self._database.read() as session:
            for job in session.scalars(select(Job).where(Job.id.in_(list(after)))).all():
                events: Sequence[JobEvent] = []
                if 0 <= after[job.id] < job.events:
                    query = select(JobEvent).where(JobEvent.job_id == job.id, JobEvent.number > after[job.id])
                    events = session.scalars(query.order_by(JobEvent.number).limit(500)).all()
                news[job.id] = (job, events)
        return news

    def losses(self, project: str, job_id: str) -> tuple[Losses, int]:
        """The losses of every step so far, and the number of the last event: however long it is, few rows at a time."""
        job, found = self.get(project, job_id), Losses()
        numbers = (JobEvent.data["step"].as_integer(), *(JobEvent.data[name].as_float() for name in LOSSES))
        query = select(*numbers).where(JobEvent.job_id == job_id, JobEvent.type == "metrics",
                                       JobEvent.number <= job.events, JobEvent.data.is_not(None))  # fmt: skip
        with self._database.read() as session:
            rows = session.execute(query.order_by(JobEvent.number), execution_options={"yield_per": ROWS_AT_ONCE})
            for step, training, validation in rows:
                found.add(step, training, validation)
        return found, job.events

    def checkpoints(self, project: str, job_id: str, *, after: str | None = None, limit: int = 10) -> Page[Checkpoint]:
        """Newest first."""
        self.get(project, job_id)
        with self._database.read() as session:
            return page(
                session, Checkpoint, select(Checkpoint).where(Checkpoint.job_id == job_id), job_id, after, limit
            )

    def using(self, project: str, model: str, most: int = 50) -> Sequence[Job]:
        """Jobs that this model was given to, newest first: evaluations, sheets, trainings that went on from it."""
        query = select(Job).where(Job.project == project, Job.model == model).order_by(Job.seq.desc())
        with self._database.read() as session:
            return session.scalars(query.limit(most)).all()

    def codes(self, job: Job) -> Sequence[str]:
        """The codes of what it told, each once."""
        query = select(JobEvent.code).where(JobEvent.job_id == job.id, JobEvent.code.is_not(None))
        with self._database.read() as session:
            return [str(code) for code in session.scalars(query.distinct())]

    # ── act ──

    def cancel(self, project: str, job_id: str) -> Job:
        """At once, whatever its worker does. Raises JobError `job_already_terminal` when it succeeded or failed."""
        with self._database.write() as session:
            job = locked(session, job_id, project)
            if job.status in ("succeeded", "failed"):
                raise JobError("job_already_terminal", job=job.id, status=job.status)
            if job.status != "cancelled":
                end(job, "cancelled")
                tell_code(session, job, "job_cancelled", key="end")
                record(session, "job_cancelled", job.id, job.kind, project=project)
        return job

    def pause(self, project: str, job_id: str) -> Job:
        """At once when it waits; with a worker at it, as soon as that has stopped: one that trains first saves a
        checkpoint. Raises JobError `job_not_pausable` when it has ended."""
        with self._database.write() as session:
            job = locked(session, job_id, project)
            if job.status in TERMINAL:
                raise JobError("job_not_pausable", job=job.id, status=job.status)
            before = job.status, job.wish
            if job.claimed:
                job.wish = job.wish or "pause"
            elif job.status != "paused":
                pause(session, job)
            if (job.status, job.wish) != before:
                record(session, "job_paused", job.id, job.kind, project=project)
        return job

    def resume(self, project: str, job_id: str) -> Job:
        """Back into the queue, at its old place; a pause that was wished is not wished any more.

        Raises JobError `job_not_resumable` when it has ended.
        """
        with self._database.write() as session:
            job = locked(session, job_id, project)
            if job.status in TERMINAL:
                raise JobError("job_not_resumable", job=job.id, status=job.status)
            before = job.status, job.wish
            if job.status == "paused":
                job.status, job.wish = waits_as(job), None
                tell_code(session, job, "job_resumed")
            elif job.wish == "pause":
                job.wish = None
            if (job.status, job.wish) != before:
                record(session, "job_resumed", job.id, job.kind, project=project)
        return job

    def keep(self, project: str, job_id: str) -> Job:
        """Stop the training and publish the best so far. Raises JobError `nothing_to_keep` before a checkpoint."""
        with self._database.write() as session:
            job = locked(session, job_id, project)
            started = job.status == "running" or (job.status in ("queued", "paused") and job.last_checkpoint > 0)
            if job.kind != "training" or not started:
                raise JobError("nothing_to_keep", job=job.id, status=job.status)
            if job.wish != "keep":
                job.wish = "keep"
                record(session, "job_kept", job.id, job.kind, project=project)
            if job.status == "paused":
                job.status = waits_as(job)
        return job

    def delete(self, project: str, job_id: str) -> None:
        """Forget an ended job with its events and checkpoints; models and files that it made stay.

        Raises JobError `job_not_found`, and `job_not_ended` for one that waits or runs.
        """
        from postil.store.pages import bury

        with self._database.write() as session:
            job = locked(session, job_id, project)
            if job.status not in TERMINAL:
                raise JobError("job_not_ended", job=job.id, status=job.status)
            for table in (JobEvent, JobLabel, Checkpoint):
                session.query(table).filter_by(job_id=job.id).delete()
            bury(session, job, project)
            record(session, "job_deleted", job.id, job.kind, project=project)


def model_name(base: str, project: str, suffix: str | None) -> str:
    """ft:<base>:<organisation>:<suffix or empty>:<8 letters>, as OpenAI names them."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", unicodedata.normalize("NFKC", suffix or "").lower()).strip("-")
    return f"ft:{base}:{project.removeprefix('proj_')}:{plain}:{letters(8)}"


def _labelled(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(JobLabel.job_id == Job.id, *conditions)


def _row(project: str, order: Order, worker: dict[str, Any]) -> Job:
    training = order.kind == "training"
    return Job(
        id=new_id(PREFIX[order.kind]), project=project, kind=order.kind,
        status="validating_files" if training else "queued", priority=order.priority, model=order.model,
        training_file=order.training_file, validation_file=order.validation_file, suffix=order.suffix,
        seed=secrets.randbelow(2**31) if order.seed is None else order.seed, request=dict(order.request), order=worker,
        resolved={}, attempt=0, claimed=False, server=None, wish=None, hold=None, needs={}, without_progress=0,
        last_checkpoint=0, read_bytes=0, resumed_from=[], progress={}, events=0, fine_tuned_model=None,
        adapter_sha256=None, trained_tokens=None, result=None, result_files=[], error=None, created_at=now(),
        started_at=None, finished_at=None, estimated_finish=None,
    )  # fmt: skip
