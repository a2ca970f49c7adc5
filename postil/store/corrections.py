"""Corrections: what people thought of answers, and what should have been said; the material of the next training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.audit import record
from postil.store.database import Database
from postil.store.ids import new_id, now
from postil.store.pages import Page, bury, page
from postil.store.replies import attach
from postil.store.tables import Correction, CorrectionSet
from postil.store.versions import require_version, version_of

THUMBS = ("up", "down")
MOST = 20_000  # corrections of a set
CHANGEABLE = ("right", "thumb", "note")


class Corrections:
    """The correction sets of all projects, and what is in them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ── sets ──

    def create(self, project: str, name: str, *, reply: str | None = None) -> CorrectionSet:
        """An empty set."""
        row = CorrectionSet(id=new_id("corrset_"), project=project, name=name, created_at=now())
        with self._database.write() as session:
            session.add(row)
            attach(session, reply, row.id)
        return row

    def get(self, project: str, set_id: str) -> CorrectionSet:
        """Raises StoreError `set_not_found`."""
        with self._database.read() as session:
            return _set(session, project, set_id)

    def list(self, project: str, *, after: str | None = None, limit: int = 20) -> Page[CorrectionSet]:
        """Newest first."""
        query = select(CorrectionSet).where(CorrectionSet.project == project)
        with self._database.read() as session:
            return page(session, CorrectionSet, query, project, after, limit)

    def counts(self, set_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """Of each of these sets: how many rows there are, how many have a right answer, and thumbs up and down."""
        found = {name: {"rows": 0, "corrected": 0, "up": 0, "down": 0} for name in set_ids}
        query = (
            select(Correction.set_id, Correction.thumb, func.count(), func.count(Correction.right))
            .where(Correction.set_id.in_(set_ids)).group_by(Correction.set_id, Correction.thumb)
        )  # fmt: skip
        with self._database.read() as session:
            for name, thumb, rows, corrected in session.execute(query):
                found[name]["rows"] += rows
                found[name]["corrected"] += corrected
                if thumb:
                    found[name][thumb] += rows
        return found

    def models(self, project: str, set_id: str) -> Sequence[str]:
        """Whose answers were corrected, the one with the most corrections first."""
        with self._database.read() as session:
            owner = _set(session, project, set_id)
            query = select(Correction.model).where(Correction.set_id == owner.id, Correction.model != "")
            named = query.group_by(Correction.model).order_by(func.count().desc(), func.max(Correction.seq).desc())
            return session.scalars(named).all()

    def delete(self, project: str, set_id: str) -> None:
        """With all that is in it; files that were made of it stay. Raises StoreError `set_not_found`."""
        with self._database.write() as session:
            row = _set(session, project, set_id)
            session.query(Correction).filter_by(set_id=row.id).delete()
            bury(session, row, project)
            record(session, "corrections_deleted", row.id, row.name, project=project)

    # ── what is in them ──

    def add(self, project: str, set_id: str, *, messages: Sequence[Mapping[str, str]], answer: str, by: str,
            right: str | None = None, thumb: str | None = None, model: str = "", note: str = "",
            reply: str | None = None) -> Correction:  # fmt: skip
        """One more. messages: {"role", "content"}, all that stood before the answer.

        Raises StoreError `set_not_found`, `set_full`.
        """
        with self._database.write() as session:
            owner = _set(session, project, set_id)
            if (session.scalar(select(func.count()).where(Correction.set_id == owner.id)) or 0) >= MOST:
                raise StoreError("set_full", set=owner.id, most=MOST)
            row = Correction(
                id=new_id("corr_"), set_id=owner.id, project=project, messages=[dict(one) for one in messages],
                answer=answer, right=right, thumb=thumb, model=model, note=note, by=by, created_at=now(),
                updated_at=now(),
            )  # fmt: skip
            session.add(row)
            attach(session, reply, row.id)
        return row

    def change(
        self, project: str, correction_id: str, changes: Mapping[str, Any], *, version: str | None = None
    ) -> Correction:
        """Another right answer, thumb or note; `version`: of the state that was read.

        Raises StoreError `correction_not_found`, `stale_version`.
        """
        with self._database.write() as session:
            row = _correction(session, project, correction_id, lock=True)
            require_version(version, correction_version(row), "correction")
            for name in CHANGEABLE:
                if name in changes:
                    setattr(row, name, changes[name])
            row.updated_at = now()
        return row

    def correction(self, project: str, correction_id: str) -> Correction:
        """Raises StoreError `correction_not_found`."""
        with self._database.read() as session:
            return _correction(session, project, correction_id)

    def rows(self, project: str, set_id: str, *, after: str | None = None, limit: int = 20) -> Page[Correction]:
        """Newest first."""
        with self._database.read() as session:
            owner = _set(session, project, set_id)
            query = select(Correction).where(Correction.set_id == owner.id)
            return page(session, Correction, query, owner.id, after, limit)

    def remove(self, project: str, correction_id: str) -> None:
        """Take it out of its set. Raises StoreError `correction_not_found`."""
        with self._database.write() as session:
            row = _correction(session, project, correction_id)
            bury(session, row, row.set_id)
            record(session, "correction_deleted", row.id, row.set_id, project=project)

    def examples(self, project: str, set_id: str) -> Sequence[dict[str, Any]]:
        """What can be learned from, oldest first, as {"messages": [...]}.

        The right answer where there is one; an answer with a thumb up is right as it stands; the rest teaches nothing.
        The same question asked again counts once, as it was answered last.
        """
        with self._database.read() as session:
            owner = _set(session, project, set_id)
            rows = session.scalars(
                select(Correction).where(Correction.set_id == owner.id).order_by(Correction.seq)
            ).all()
        found: dict[str, dict[str, Any]] = {}
        for row in rows:
            right = row.right if row.right is not None else row.answer if row.thumb == "up" else None
            if right is not None and right.strip():
                key = repr([(one["role"], one["content"]) for one in row.messages])
                found[key] = {"messages": [*row.messages, {"role": "assistant", "content": right}]}
        return list(found.values())


def _set(session: Session, project: str, set_id: str) -> CorrectionSet:
    row = session.scalar(select(CorrectionSet).where(CorrectionSet.id == set_id, CorrectionSet.project == project))
    if row is None:
        raise StoreError("set_not_found", set=set_id[:80])
    return row


def correction_version(row: Correction) -> str:
    """The name of a correction's present state."""
    return version_of(*(getattr(row, name) for name in CHANGEABLE))


def _correction(session: Session, project: str, correction_id: str, *, lock: bool = False) -> Correction:
    query = select(Correction).where(Correction.id == correction_id, Correction.project == project)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise StoreError("correction_not_found", correction=correction_id[:80])
    return row
