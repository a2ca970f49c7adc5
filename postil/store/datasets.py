"""Data sets of a project: a file and how it is read and put right. A change is a new version; none is ever altered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.audit import record
from postil.store.database import Database
from postil.store.ids import new_id, now
from postil.store.pages import Page, bury, page
from postil.store.tables import DataSet, Job, JobLabel
from postil.store.uploaded import TERMINAL
from postil.store.uploaded import find as find_file

LABEL = "dataset"  # in a job's metadata: the version that it learns from


class DataSets:
    """The data sets of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, project: str, name: str, file_id: str, reading: Mapping[str, Any],
               facts: Mapping[str, Any] | None = None, reply: str | None = None) -> DataSet:  # fmt: skip
        """The first version of a data set. Raises StoreError `file_not_found`."""
        with self._database.write() as session:
            return _add(session, project, name, file_id, reading, facts, None, reply)

    def revise(self, project: str, parent_id: str, *, name: str | None = None, file_id: str | None = None,
               reading: Mapping[str, Any] | None = None, facts: Mapping[str, Any] | None = None,
               reply: str | None = None) -> DataSet:  # fmt: skip
        """A new version after `parent_id`; what is not told stays. The same file and reading again is that version.

        Raises StoreError `dataset_not_found`, `file_not_found`, and `dataset_stale` when somebody has made another
        version after `parent_id` meanwhile: theirs would be lost.
        """
        with self._database.write() as session:
            parent = find(session, project, parent_id)
            session.scalar(select(DataSet.seq).where(DataSet.id == parent.family).with_for_update())  # one at a time
            newest = _versions(session, parent)[-1]
            wanted = (
                name or parent.name,
                file_id or parent.file_id,
                dict(parent.reading if reading is None else reading),
            )
            for known in (parent, newest):
                if wanted == (known.name, known.file_id, known.reading):
                    return known
            if newest.id != parent.id:
                raise StoreError(
                    "dataset_stale",
                    dataset=parent.id,
                    version=parent.version,
                    newest=newest.id,
                    newest_version=newest.version,
                )
            return _add(session, project, *wanted, facts, parent, reply)

    def newest(self, project: str, dataset_id: str) -> DataSet:
        """The version that others go on from, of the data set to which this one belongs."""
        return self.versions(project, dataset_id)[-1]

    def get(self, project: str, dataset_id: str) -> DataSet:
        """Raises StoreError `dataset_not_found`."""
        with self._database.read() as session:
            return find(session, project, dataset_id)

    def list(
        self, project: str, *, after: str | None = None, limit: int = 20, ascending: bool = False
    ) -> Page[DataSet]:
        """The newest version of each data set, newest first. Raises StoreError `invalid_cursor`."""
        query = select(DataSet).where(DataSet.project == project, DataSet.newest)
        with self._database.read() as session:
            return page(session, DataSet, query, project, after, limit, ascending=ascending)

    def versions(self, project: str, dataset_id: str) -> Sequence[DataSet]:
        """All versions of the data set to which this one belongs, the first one first."""
        with self._database.read() as session:
            return _versions(session, find(session, project, dataset_id))

    def rename(self, project: str, dataset_id: str, name: str) -> DataSet:
        """All versions get this name. Raises StoreError `dataset_not_found`."""
        with self._database.write() as session:
            row = find(session, project, dataset_id)
            for one in _versions(session, row):
                one.name = name
        return row

    def delete(self, project: str, dataset_id: str) -> None:
        """Forget all versions of a data set; the files stay.

        Raises StoreError `dataset_not_found`, and `dataset_in_use` while a job that is not finished learns from one.
        """
        with self._database.write() as session:
            rows = _versions(session, find(session, project, dataset_id))
            user = session.scalar(
                select(Job.id)
                .join(JobLabel, JobLabel.job_id == Job.id)
                .where(Job.project == project, Job.status.not_in(TERMINAL), JobLabel.name == LABEL)
                .where(JobLabel.value.in_([row.id for row in rows]))
            )
            if user:
                raise StoreError("dataset_in_use", dataset=rows[-1].id, job=user)
            for row in rows:
                bury(session, row, project)
                record(session, "dataset_deleted", row.id, row.name, project=project)


def find(session: Session, project: str, dataset_id: str) -> DataSet:
    """Raises StoreError `dataset_not_found`."""
    row = session.scalar(select(DataSet).where(DataSet.id == dataset_id, DataSet.project == project))
    if row is None:
        raise StoreError("dataset_not_found", dataset=dataset_id[:80])
    return row


def _versions(session: Session, row: DataSet) -> Sequence[DataSet]:
    query = select(DataSet).where(DataSet.project == row.project, DataSet.family == row.family)
    return session.scalars(query.order_by(DataSet.version)).all()


def _add(session: Session, project: str, name: str, file_id: str, reading: Mapping[str, Any],
         facts: Mapping[str, Any] | None, parent: DataSet | None, reply: str | None) -> DataSet:  # fmt: skip
    from postil.store.replies import attach

    find_file(session, project, file_id)
    made = new_id("dataset-")
    version = 1
    if parent is not None:
        before = _versions(session, parent)
        version = before[-1].version + 1
        for one in before:
            one.newest = False
    row = DataSet(
        id=made, project=project, name=name, file_id=file_id, reading=dict(reading), facts=dict(facts or {}),
        parent=parent.id if parent else None, family=parent.family if parent else made, version=version, newest=True,
        created_at=now(),
    )  # fmt: skip
    session.add(row)
    attach(session, reply, row.id)
    session.flush()
    record(session, "dataset_made", row.id, name, project=project)
    return row
