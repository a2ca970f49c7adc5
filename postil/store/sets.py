"""Evaluation sets: files of questions with right answers, under a name, with where they came from."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.audit import record
from postil.store.blobs import Incoming
from postil.store.database import Database
from postil.store.ids import new_id, now
from postil.store.pages import Page, bury, page
from postil.store.replies import attach
from postil.store.tables import EvaluationSet
from postil.store.uploaded import Files

Source = Literal["file", "job", "corrections"]


class Sets:
    """The evaluation sets of all projects. Each has a file of its own, which goes with it."""

    def __init__(self, database: Database, files: Files) -> None:
        self._database, self._files = database, files

    def create(self, project: str, name: str, source: Source, origin: str, made: Incoming, examples: int, *,
               reply: str | None = None) -> EvaluationSet:  # fmt: skip
        """A set of what stands in `made`, JSONL of messages. Raises StoreError `empty_file`, `quota_exceeded`."""
        if not made.bytes:
            raise StoreError("empty_file")
        self._files.put(made)
        with self._database.write() as session:
            file = self._files.add(session, project, f"{name[:200]}.jsonl", "evals", made)
            row = EvaluationSet(id=new_id("set_"), project=project, name=name, source=source, origin=origin,
                                file_id=file.id, examples=examples, created_at=now())  # fmt: skip
            session.add(row)
            attach(session, reply, row.id)
        return row

    def get(self, project: str, set_id: str) -> EvaluationSet:
        """Raises StoreError `set_not_found`."""
        with self._database.read() as session:
            return _find(session, project, set_id)

    def list(self, project: str, *, after: str | None = None, limit: int = 20) -> Page[EvaluationSet]:
        """Newest first."""
        query = select(EvaluationSet).where(EvaluationSet.project == project)
        with self._database.read() as session:
            return page(session, EvaluationSet, query, project, after, limit)

    def delete(self, project: str, set_id: str) -> None:
        """With its file. Raises StoreError `set_not_found`, and while the file is needed what
        `Files.delete` raises."""
        with self._database.write() as session:
            row = _find(session, project, set_id)
            bury(session, row, project)
            session.flush()  # the file is not in use by this set any more
            self._files.forget(session, project, row.file_id)
            record(session, "set_deleted", set_id, row.name, project=project)
        self._files.sweep()


def _find(session: Session, project: str, set_id: str) -> EvaluationSet:
    row = session.scalar(select(EvaluationSet).where(EvaluationSet.id == set_id, EvaluationSet.project == project))
    if row is None:
        raise StoreError("set_not_found", set=set_id[:80])
    return row
