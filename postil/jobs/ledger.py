"""How a job's row is changed: always locked, each event with the next number, each terminal state once."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.errors import JobError
from postil.locales import say
from postil.store.ids import new_id, now
from postil.store.tables import Job, JobEvent


def locked(session: Session, job_id: str, project: str | None = None) -> Job:
    """The row, locked until the transaction ends. Raises JobError `job_not_found`."""
    query = select(Job).where(Job.id == job_id)
    row = session.scalar((query.where(Job.project == project) if project else query).with_for_update())
    if row is None:
        raise JobError("job_not_found", job=job_id[:80])
    return row


def held(session: Session, job: Job) -> Job | None:
    """The row, locked, if this attempt still works on it and still is this server's: `job`, as it was claimed."""
    theirs = select(Job).where(Job.id == job.id, Job.attempt == job.attempt, Job.server == job.server, Job.claimed)
    return session.scalar(theirs.with_for_update())


def tell(session: Session, job: Job, message: str, *, level: str = "info", type_: str = "message",
         code: str | None = None, data: Mapping[str, Any] | None = None, key: str | None = None) -> bool:  # fmt: skip
    """Add an event to a locked job, unless one with this key was told before. Says whether it was added."""
    if key and session.scalar(select(JobEvent.seq).where(JobEvent.job_id == job.id, JobEvent.key == key)):
        return False
    job.events += 1
    session.add(
        JobEvent(id=new_id("ftevent-"), job_id=job.id, number=job.events, key=key, level=level, type=type_,
                 message=message, code=code, data=dict(data) if data is not None else None, created_at=now())
    )  # fmt: skip
    session.flush()
    return True


def tell_code(session: Session, job: Job, code: str, *, level: str = "info", key: str | None = None,
              **values: Any) -> bool:  # fmt: skip
    """Add the event `event.<code>` of `locales/`: English in the row, both languages through code and data."""
    return tell(session, job, say(f"event.{code}", "en", **values), level=level, code=code, data=values, key=key)


def waits_as(job: Job) -> str:
    """The state in which the job waits for a worker: one that trains has its data looked at first."""
    return "validating_files" if job.kind == "training" and not job.resolved else "queued"


def pause(session: Session, job: Job) -> None:
    """A locked job that no worker is at rests until it is resumed."""
    job.status, job.wish, job.hold = "paused", None, None
    tell_code(session, job, "job_paused", step=job.last_checkpoint)


def end(job: Job, status: str) -> None:
    """Into a terminal state, for good."""
    job.status, job.finished_at, job.claimed = status, now(), False
    job.wish = job.hold = job.estimated_finish = None


def finite(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """What can stand in JSON."""
    return {name: value for name, value in numbers.items() if not isinstance(value, float) or isfinite(value)}
