"""Blind votes: what is compared, who votes by which link, and what was voted. Of a link only a hash is kept."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.audit import record
from postil.store.database import Database
from postil.store.ids import letters, new_id, now
from postil.store.pages import Page, bury, page
from postil.store.replies import attach
from postil.store.tables import Ballot, Rater, Vote

CHOICES = ("a", "b", "same", "both_bad")
MOST_ROWS = 500
MOST_RATERS = 200
_TOKEN = re.compile(r"[a-z2-7]{40}\Z")


class Ballots:
    """The blind comparisons of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, project: str, name: str, question: str, origin: str, model: str,
               rows: Sequence[Mapping[str, Any]], *, reply: str | None = None) -> Ballot:  # fmt: skip
        """rows: {"question", "reference", "base", "tuned"}, at most 500."""
        row = Ballot(
            id=new_id("ballot_"), project=project, name=name, question=question, origin=origin, model=model,
            seed=secrets.token_hex(16), rows=[dict(one) for one in rows[:MOST_ROWS]], created_at=now(), closed_at=None,
        )  # fmt: skip
        with self._database.write() as session:
            session.add(row)
            attach(session, reply, row.id)
            record(session, "ballot_begun", row.id, name, project=project)
        return row

    def get(self, project: str, ballot_id: str) -> Ballot:
        """Raises StoreError `ballot_not_found`."""
        with self._database.read() as session:
            return _find(session, project, ballot_id)

    def list(self, project: str, *, after: str | None = None, limit: int = 20) -> Page[Ballot]:
        """Newest first."""
        query = select(Ballot).where(Ballot.project == project)
        with self._database.read() as session:
            return page(session, Ballot, query, project, after, limit)

    def close(self, project: str, ballot_id: str) -> Ballot:
        """No more votes; from now on raters may see the result. Again is no harm."""
        with self._database.write() as session:
            row = _find(session, project, ballot_id)
            if row.closed_at is None:
                row.closed_at = now()
                record(session, "ballot_closed", row.id, row.name, project=project)
        return row

    def delete(self, project: str, ballot_id: str) -> None:
        """With its raters and their votes. Raises StoreError `ballot_not_found`."""
        with self._database.write() as session:
            row = _find(session, project, ballot_id)
            raters = select(Rater.id).where(Rater.ballot_id == row.id).scalar_subquery()
            session.query(Vote).filter(Vote.rater_id.in_(raters)).delete(synchronize_session=False)
            session.query(Rater).filter_by(ballot_id=row.id).delete()
            bury(session, row, project)
            record(session, "ballot_deleted", row.id, row.name, project=project)

    # ── raters ──

    def invite(self, project: str, ballot_id: str, name: str) -> tuple[Rater, str]:
        """A rater and the secret of the link, told this once. Raises StoreError `ballot_closed`, `set_full`."""
        token = letters(40)
        with self._database.write() as session:
            ballot = _open(_find(session, project, ballot_id))
            if (session.scalar(select(func.count()).where(Rater.ballot_id == ballot.id)) or 0) >= MOST_RATERS:
                raise StoreError("set_full", set=ballot.id, most=MOST_RATERS)
            row = Rater(id=new_id("rater_"), ballot_id=ballot.id, name=name, digest=_digest(token), created_at=now())
            session.add(row)
            record(session, "rater_invited", row.id, f"{ballot.id}: {name}", project=project)
        return row, token

    def new_link(self, project: str, rater_id: str) -> tuple[Rater, str]:
        """Another secret; the old link opens nothing any more. Raises StoreError `rater_not_found`."""
        token = letters(40)
        with self._database.write() as session:
            row = _rater(session, project, rater_id)
            row.digest = _digest(token)
            record(session, "rater_link_renewed", row.id, f"{row.ballot_id}: {row.name}", project=project)
        return row, token

    def dismiss(self, project: str, rater_id: str) -> None:
        """The rater and all that they voted. Raises StoreError `rater_not_found`."""
        with self._database.write() as session:
            row = _rater(session, project, rater_id)
            session.query(Vote).filter_by(rater_id=row.id).delete()
            session.delete(row)
            record(session, "rater_dismissed", row.id, f"{row.ballot_id}: {row.name}", project=project)

    def raters(self, ballot: Ballot) -> Sequence[Rater]:
        """Oldest first."""
        with self._database.read() as session:
            return session.scalars(select(Rater).where(Rater.ballot_id == ballot.id).order_by(Rater.seq)).all()

    def votes(self, ballot: Ballot) -> dict[str, dict[int, Vote]]:
        """Rater -> row -> vote."""
        query = select(Vote).join(Rater, Rater.id == Vote.rater_id).where(Rater.ballot_id == ballot.id)
        found: dict[str, dict[int, Vote]] = {rater.id: {} for rater in self.raters(ballot)}
        with self._database.read() as session:
            for vote in session.scalars(query):
                found.setdefault(vote.rater_id, {})[vote.row] = vote
        return found

    # ── with a link ──

    def of_link(self, token: str) -> tuple[Ballot, Rater]:
        """Whom this link was given to. Raises StoreError `rater_not_found`."""
        with self._database.read() as session:
            rater = None
            if _TOKEN.match(token):
                rater = session.scalar(select(Rater).where(Rater.digest == _digest(token)))
            ballot = session.scalar(select(Ballot).where(Ballot.id == rater.ballot_id)) if rater else None
        if rater is None or ballot is None:
            raise StoreError("rater_not_found", rater="-")
        return ballot, rater

    def knows(self, rater_id: str) -> bool:
        """Whether this rater is still one."""
        with self._database.read() as session:
            return session.scalar(select(Rater.seq).where(Rater.id == rater_id)) is not None

    def vote(self, rater: Rater, row: int, choice: str, comment: str = "") -> Vote:
        """A vote, in place of an earlier one on the same row. Raises StoreError `ballot_closed`, `row_not_found`."""
        with self._database.write() as session:
            ballot = session.scalar(select(Ballot).where(Ballot.id == rater.ballot_id).with_for_update(read=True))
            if ballot is None or session.get(Rater, rater.seq) is None:
                raise StoreError("rater_not_found", rater="-")
            _open(ballot)
            if not 0 <= row < len(ballot.rows):
                raise StoreError("row_not_found", row=row)
            made = session.get(Vote, (rater.id, row))
            if made is None:
                made = Vote(rater_id=rater.id, row=row, choice=choice, comment=comment, created_at=now())
                session.add(made)
            made.choice, made.comment, made.created_at = choice, comment, now()
        return made


def _find(session: Session, project: str, ballot_id: str) -> Ballot:
    row = session.scalar(select(Ballot).where(Ballot.id == ballot_id, Ballot.project == project))
    if row is None:
        raise StoreError("ballot_not_found", ballot=ballot_id[:80])
    return row


def _open(ballot: Ballot) -> Ballot:
    if ballot.closed_at is not None:
        raise StoreError("ballot_closed", ballot=ballot.id)
    return ballot


def _rater(session: Session, project: str, rater_id: str) -> Rater:
    row = session.scalar(select(Rater).join(Ballot, Ballot.id == Rater.ballot_id)
                         .where(Rater.id == rater_id, Ballot.project == project))  # fmt: skip
    if row is None:
        raise StoreError("rater_not_found", rater=rater_id[:80])
    return row


def _digest(token: str) -> str:
    """Enough for a secret of 200 random bits: there is nothing to guess."""
    return hashlib.sha256(token.encode()).hexdigest()
