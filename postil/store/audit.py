"""Who did what: a line for each act that changes or gives something away. Never secrets, never data.

Doors say who acts (`act_as`), the store writes the line in the transaction of the act itself: neither is there without
the other. Lines of a project are bounded in age and number, and nothing that repeats can push others out: the same
act on the same object within an hour is counted on its line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from postil.store.database import Database
from postil.store.ids import new_id, now
from postil.store.pages import Page, page
from postil.store.tables import AuditLine

ACTS = (
    "signed_in", "sign_in_refused", "signed_out", "key_made", "key_rotated", "key_revoked", "quota_set",
    "model_released", "model_held", "model_allowed", "model_withdrawn", "model_deleted", "model_shared",
    "model_unshared", "line_set", "line_rolled_back", "line_deleted", "ballot_begun", "ballot_closed", "ballot_deleted",
    "rater_invited", "rater_link_renewed", "rater_dismissed", "job_ordered", "exported", "job_cancelled", "job_paused",
    "job_resumed", "job_kept", "job_deleted", "file_added", "file_deleted", "dataset_made", "dataset_deleted",
    "set_deleted", "correction_deleted", "corrections_deleted", "downloaded",
)  # fmt: skip
KEPT_SECONDS = 365 * 24 * 3600
MOST_LINES = 400_000  # of a project: some 100 MB; more than all acts together may have
MOST_OF_ACT = 10_000  # of a kind, so that one that somebody repeats pushes no other out
MOST_REFUSED = 5_000  # of these, sign-ins that were refused: a stranger must not push the others out
SAME_SECONDS = 3600
SWEEP_EVERY = 64  # lines


@dataclass(frozen=True)
class Actor:
    """Who acts: a key, and the address that it came from."""

    key_id: str
    key_name: str
    project: str = ""
    address: str = ""


NOBODY = Actor("-", "-")  # the machine itself, or somebody without a key
COMMAND_LINE = "command line"  # the id of whoever sits at the machine

_ACTOR: ContextVar[Actor] = ContextVar("actor", default=NOBODY)


def act_as(actor: Actor) -> None:
    """Whatever this task or thread does from here on is done by `actor`."""
    _ACTOR.set(actor)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """The same for a while."""
    before = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(before)


def record(session: Session, act: str, target: str, reason: str = "", *, project: str = "") -> None:
    """Write down, in the transaction of the act, what the present actor does to `target`; the same within an hour is
    counted on its line."""
    actor, at = _ACTOR.get(), now()
    where = project or actor.project
    if (known := _same(session, actor, where, act, target, reason, at)) is not None:
        known.times, known.last_at = known.times + 1, at
        return
    line = AuditLine(
        id=new_id("audit_"), project=where, key_id=actor.key_id, key_name=actor.key_name[:100], act=act,
        object=target[:255], reason=reason[:1000], address=actor.address[:64], times=1, created_at=at, last_at=at,
    )  # fmt: skip
    session.add(line)
    session.flush()
    if line.seq % SWEEP_EVERY == 0:
        _sweep(session, where, act, at)


class Audit:
    """What was done, in all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, act: str, target: str, reason: str = "", *, project: str = "") -> None:
        """Write down an act that changes nothing in the store."""
        with self._database.write() as session:
            record(session, act, target, reason, project=project)

    def list(self, project: str | None = None, *, act: str | None = None, key: str | None = None,
             after: str | None = None, limit: int = 20) -> Page[AuditLine]:  # fmt: skip
        """Newest first, of one project or of all. Raises StoreError `invalid_cursor`."""
        query = select(AuditLine)
        for column, wanted in ((AuditLine.project, project), (AuditLine.act, act), (AuditLine.key_id, key)):
            query = query.where(column == wanted) if wanted else query
        with self._database.read() as session:
            return page(session, AuditLine, query, project or "", after, limit)


def _same(
    session: Session, actor: Actor, project: str, act: str, target: str, reason: str, at: int
) -> AuditLine | None:  # fmt: skip
    return session.scalar(
        select(AuditLine).where(
            AuditLine.object == target[:255], AuditLine.act == act, AuditLine.reason == reason[:1000],
            AuditLine.project == project, AuditLine.key_id == actor.key_id, AuditLine.address == actor.address[:64],
            AuditLine.created_at > at - SAME_SECONDS,
        ).order_by(AuditLine.seq.desc()).limit(1)
    )  # fmt: skip


def _sweep(session: Session, project: str, act: str, at: int) -> None:
    """Drop what is too old, and of a project what is too much, first of the act that was just written."""
    own = AuditLine.project == project
    session.execute(delete(AuditLine).where(AuditLine.created_at < at - KEPT_SECONDS))
    of_act = MOST_REFUSED if act == "sign_in_refused" else MOST_OF_ACT
    for lines, most in (((own, AuditLine.act == act), of_act), ((own,), MOST_LINES)):
        newest = select(AuditLine.seq).where(*lines).order_by(AuditLine.seq.desc())
        last = session.scalar(newest.offset(most).limit(1))
        if last is not None:
            session.execute(delete(AuditLine).where(*lines, AuditLine.seq <= last))
