"""Files of a project, whole or in parts: rows that name bytes. Bytes go when their last file or part has gone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.audit import record
from postil.store.blobs import Blobs, Incoming
from postil.store.database import Database
from postil.store.ids import new_id, now
from postil.store.pages import Page, bury, page
from postil.store.tables import Blob, DataSet, EvaluationSet, File, Job, Part, Project, Upload

TERMINAL = ("succeeded", "failed", "cancelled")
UPLOAD_SECONDS = 3600
PART_BYTES = 64 << 20


class Files:
    """The files of all projects."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database, self._blobs = database, blobs

    @contextmanager
    def incoming(self, most: int | None = None) -> Iterator[Incoming]:
        """A place to write a file into piece by piece, before `keep`. Raises StoreError `upload_too_large`."""
        with self._blobs.incoming(most) as made:
            yield made

    def keep(self, project: str, filename: str, purpose: str, made: Incoming, *, status: str = "processed",
             expires_after: int | None = None, reply: str | None = None) -> File:  # fmt: skip
        """What was written becomes a file. Raises StoreError `empty_file`, `quota_exceeded`, `storage_full`.

        `reply`: the id of the remembered request (see Replies) whose object this is.
        """
        if not made.bytes:
            raise StoreError("empty_file")
        self.put(made)
        with self._database.write() as session:
            return self.add(session, project, filename, purpose, made, status=status, expires_after=expires_after,
                            reply=reply)  # fmt: skip

    def put(self, made: Incoming) -> None:
        """Put bytes where they belong, without a user yet: `sweep` takes them away again if they get none."""
        with self._database.write() as session:
            _insert(session, made, 0)
        self._blobs.put(made)

    def add(self, session: Session, project: str, filename: str, purpose: str, made: Incoming, *,
            status: str = "processed", expires_after: int | None = None, reply: str | None = None) -> File:  # fmt: skip
        """The same in a transaction that does more; the bytes have been `put` already."""
        from postil.store.replies import attach

        use(session, self._blobs, project, made)
        created = now()
        row = File(
            id=new_id("file-"), project=project, filename=display_name(filename), purpose=purpose, sha256=made.sha256,
            bytes=made.bytes, status=status, status_details=None, created_at=created,
            expires_at=created + expires_after if expires_after else None,
        )  # fmt: skip
        session.add(row)
        attach(session, reply, row.id)
        session.flush()
        record(session, "file_added", row.id, row.filename, project=project)
        return row

    def get(self, project: str, file_id: str) -> File:
        """Raises StoreError `file_not_found`, also for another project's file and for one that has expired."""
        with self._database.read() as session:
            return find(session, project, file_id)

    def list(self, project: str, *, purpose: str | None = None, after: str | None = None, limit: int = 10_000,
             ascending: bool = False) -> Page[File]:  # fmt: skip
        """Newest first. Raises StoreError `invalid_cursor`."""
        query = select(File).where(File.project == project, (File.expires_at.is_(None)) | (File.expires_at > now()))
        if purpose:
            query = query.where(File.purpose == purpose)
        with self._database.read() as session:
            return page(session, File, query, project, after, limit, ascending=ascending)

    def open(self, row: File) -> IO[bytes]:
        """Its bytes, to be read in pieces."""
        return self._blobs.open(row.sha256)

    def judged(self, file_id: str, fault: str | None) -> None:
        """Say that the content was looked at: `processed`, or `error` with the fault found."""
        with self._database.write() as session:
            session.execute(
                update(File).where(File.id == file_id)
                .values(status="error" if fault else "processed", status_details=fault)
            )  # fmt: skip

    def delete(self, project: str, file_id: str) -> None:
        """Raises StoreError `file_not_found`, and while it is needed `file_in_use` (by a job that is not
        finished), `file_in_dataset`, `file_in_set`."""
        with self._database.write() as session:
            find(session, project, file_id)
            self.forget(session, project, file_id)
        self.sweep()

    def forget(self, session: Session, project: str, file_id: str) -> None:
        """The same in a transaction that does more; a file that is gone already is no harm. `sweep` comes after it."""
        row = session.scalar(select(File).where(File.id == file_id, File.project == project))
        if row is not None:
            _require_unused(session, row)
            bury(session, row, project)
            release(session, row.sha256)
            record(session, "file_deleted", row.id, row.filename, project=project)

    def expire(self) -> None:
        """Delete what has reached its end, files and uploads, and the bytes that nobody uses any more."""
        with self._database.write() as session:
            for row in session.scalars(select(File).where(File.expires_at <= now())):
                bury(session, row, row.project)
                release(session, row.sha256)
            for upload in session.scalars(select(Upload).where(Upload.status == "pending", Upload.expires_at <= now())):
                upload.status = "expired"
                drop_parts(session, upload)
        self.sweep()

    def sweep(self) -> None:
        """Delete bytes without a user. Their row is locked until they are gone, so that nobody begins to use them."""
        with self._database.write() as session:
            unused = select(Blob).where(Blob.uses == 0).with_for_update(skip_locked=True)
            for blob in session.scalars(unused):
                self._blobs.delete(blob.sha256)
                session.delete(blob)


class Uploads:
    """Files that come in parts."""

    def __init__(self, database: Database, blobs: Blobs, files: Files) -> None:
        self._database, self._blobs, self._files = database, blobs, files

    def create(self, project: str, filename: str, purpose: str, mime_type: str, size: int, *,
               file_expires_after: int | None = None, reply: str | None = None) -> Upload:  # fmt: skip
        """An upload that waits for its parts for an hour."""
        from postil.store.replies import attach

        created = now()
        row = Upload(
            id=new_id("upload_"), project=project, filename=display_name(filename), purpose=purpose,
            mime_type=mime_type[:255], bytes=size, status="pending", created_at=created,
            expires_at=created + UPLOAD_SECONDS, file_expires_after=file_expires_after, file_id=None, part_ids=None,
        )  # fmt: skip
        with self._database.write() as session:
            session.add(row)
            attach(session, reply, row.id)
        return row

    def get(self, project: str, upload_id: str) -> Upload:
        """Raises StoreError `upload_not_found`."""
        with self._database.read() as session:
            return self._find(session, project, upload_id)

    def add_part(self, project: str, upload_id: str, made: Incoming, reply: str | None = None) -> Part:
        """Raises StoreError `upload_closed`, `quota_exceeded`, `storage_full`."""
        from postil.store.replies import attach

        self._files.put(made)
        with self._database.write() as session:
            upload = self._open(session, project, upload_id)
            use(session, self._blobs, project, made)
            row = Part(id=new_id("part_"), upload_id=upload.id, sha256=made.sha256, bytes=made.bytes, created_at=now())
            session.add(row)
            attach(session, reply, row.id)
        return row

    def part(self, project: str, part_id: str) -> Part:
        """Raises StoreError `part_not_found`."""
        with self._database.read() as session:
            row = session.scalar(select(Part).join(Upload).where(Part.id == part_id, Upload.project == project))
            if row is None:
                raise StoreError("part_not_found", part=part_id[:80])
            return row

    def complete(
        self,
        project: str,
        upload_id: str,
        part_ids: Sequence[str],
        md5: str | None = None,
        *,
        require: Callable[[Path, str], None] = lambda path, name: None,
    ) -> Upload:
        """The parts in this order become a file. The same list again gives the same answer. `require`: looks at the
        whole file with its name, and raises what it is refused for.

        Raises StoreError `upload_closed`, `part_not_found`, `bytes_mismatch`, `md5_mismatch`, `empty_file`.
        """
        with self._database.read() as session:
            upload = self._find(session, project, upload_id)
            if upload.status == "completed" and upload.part_ids == list(part_ids):
                return upload
            self._open(session, project, upload_id)
            named = select(Part).where(Part.upload_id == upload.id, Part.id.in_(part_ids))
            found = {part.id: part for part in session.scalars(named)}
        for part_id in part_ids:
            if part_id not in found:
                raise StoreError("part_not_found", part=part_id[:80])
        with self._blobs.incoming(upload.bytes) as made:
            self._join(made, [found[part_id] for part_id in part_ids], upload.bytes)
            if md5 and made.md5 != md5.lower():
                raise StoreError("md5_mismatch", wanted=md5[:64], found=made.md5)
            if not made.bytes:
                raise StoreError("empty_file")
            made.sync()
            require(made.path, upload.filename)
            self._files.put(made)
            with self._database.write() as session:
                row = self._find(session, project, upload_id, lock=True)
                if row.status == "completed" and row.part_ids == list(part_ids):
                    return row
                self._open(session, project, upload_id)
                drop_parts(session, row)
                file = self._files.add(session, project, row.filename, row.purpose, made,
                                       expires_after=row.file_expires_after)  # fmt: skip
                row.status, row.file_id, row.part_ids = "completed", file.id, list(part_ids)
        self._files.sweep()
        return row

    def cancel(self, project: str, upload_id: str) -> Upload:
        """Raises StoreError `upload_closed` when it is completed or expired; cancelled again is no harm."""
        with self._database.write() as session:
            row = self._find(session, project, upload_id, lock=True)
            if row.status != "cancelled":
                self._open(session, project, upload_id)
                row.status = "cancelled"
                drop_parts(session, row)
        self._files.sweep()
        return row

    def _join(self, made: Incoming, parts: Sequence[Part], size: int) -> None:
        total = sum(part.bytes for part in parts)
        if total != size:
            raise StoreError("bytes_mismatch", wanted=size, found=total)
        for part in parts:
            with self._blobs.open(part.sha256) as source:
                made.read_from(source)  # type: ignore[arg-type]

    def _find(self, session: Session, project: str, upload_id: str, *, lock: bool = False) -> Upload:
        query = select(Upload).where(Upload.id == upload_id, Upload.project == project)
        row = session.scalar(query.with_for_update() if lock else query)
        if row is None:
            raise StoreError("upload_not_found", upload=upload_id[:80])
        return row

    def _open(self, session: Session, project: str, upload_id: str) -> Upload:
        row = self._find(session, project, upload_id)
        status = "expired" if row.status == "pending" and row.expires_at <= now() else row.status
        if status != "pending":
            raise StoreError("upload_closed", upload=row.id, status=status)
        return row


# ── what both do ──


def find(session: Session, project: str, file_id: str) -> File:
    """Raises StoreError `file_not_found`."""
    row = session.scalar(select(File).where(File.id == file_id, File.project == project))
    if row is None or (row.expires_at is not None and row.expires_at <= now()):
        raise StoreError("file_not_found", file=file_id[:80])
    return row


def _require_unused(session: Session, row: File) -> None:
    """Raises StoreError that names what needs the file."""
    job = session.scalar(
        select(Job.id)
        .where((Job.training_file == row.id) | (Job.validation_file == row.id))
        .where(Job.status.not_in(TERMINAL))
    )
    if job:
        raise StoreError("file_in_use", file=row.id, job=job)
    dataset = session.scalar(select(DataSet).where(DataSet.file_id == row.id))
    if dataset is not None:
        raise StoreError("file_in_dataset", file=row.id, dataset=dataset.id, name=dataset.name)
    questions = session.scalar(select(EvaluationSet).where(EvaluationSet.file_id == row.id))
    if questions is not None:
        raise StoreError("file_in_set", file=row.id, set=questions.id, name=questions.name)


def use(session: Session, blobs: Blobs, project: str, made: Incoming) -> None:
    """Count one more user of these bytes, if the project may have them.

    The row is locked from here to the end of the transaction: if the bytes were just swept away, they are put again.
    """
    _within_quota(session, project, made.bytes)
    _insert(session, made, 1)
    if not blobs.exists(made.sha256):
        blobs.put(made)


def _insert(session: Session, made: Incoming, uses: int) -> None:
    insert: Any = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    row = insert(Blob).values(sha256=made.sha256, bytes=made.bytes, uses=uses)
    session.execute(row.on_conflict_do_update(index_elements=["sha256"], set_={"uses": Blob.uses + uses}))


def release(session: Session, sha256: str) -> None:
    """Count one user less."""
    session.execute(update(Blob).where(Blob.sha256 == sha256).values(uses=Blob.uses - 1))


def drop_parts(session: Session, upload: Upload) -> None:
    for part in session.scalars(select(Part).where(Part.upload_id == upload.id)):
        release(session, part.sha256)
        session.delete(part)


def used_bytes(session: Session, project: str) -> int:
    """What the files and parts of a project take, each counted in full."""
    files = session.scalar(select(func.coalesce(func.sum(File.bytes), 0)).where(File.project == project))
    parts = session.scalar(
        select(func.coalesce(func.sum(Part.bytes), 0)).join(Upload, Part.upload_id == Upload.id)
        .where(Upload.project == project)
    )  # fmt: skip
    return int(files or 0) + int(parts or 0)


def _within_quota(session: Session, project: str, more: int) -> None:
    quota = session.scalar(select(Project.quota_bytes).where(Project.id == project).with_for_update())
    if quota is not None and used_bytes(session, project) + more > quota:
        raise StoreError("quota_exceeded", quota=quota)


def display_name(name: str) -> str:
    """A name to be shown, never a path: its last part, NFC, without control characters and marks of direction."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    plain = "".join(char for char in last if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    return plain.strip()[:255] or "upload"
