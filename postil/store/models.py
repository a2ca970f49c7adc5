"""Fine-tuned models and checkpoints: names that can be called, if their evaluation or a person allows it."""

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
from postil.store.tables import Checkpoint, Job, Line, Model, ModelLog, ModelNote, Permission
from postil.store.uploaded import TERMINAL
from postil.store.versions import ABSENT, require_version, version_of

TURNS = {"overridden": "model_allowed", "withdrawn": "model_withdrawn"}  # as the audit calls them
HELD = ("worse", "not_yet")  # outcomes and levels of an evaluation with which a model does not go live by itself


class Models:
    """What can be called by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, project: str, name: str) -> Model:
        """The project's own, or a checkpoint that it was permitted. Raises StoreError `model_not_found`."""
        with self._database.read() as session:
            return find(session, project, name)

    def list(self, project: str) -> Sequence[Model]:
        """Newest first: fine-tuned models and checkpoints, its own and those permitted."""
        shared = select(Permission.model_id).where(Permission.project == project)
        query = select(Model).where((Model.project == project) | Model.id.in_(shared)).order_by(Model.seq.desc())
        with self._database.read() as session:
            return session.scalars(query).all()

    def checkpoints(self, project: str, name: str) -> Sequence[Model]:
        """Those of the job that made it, but for the ones that another project may use. A checkpoint has none."""
        with self._database.read() as session:
            return _checkpoints(session, find(session, project, name))

    def delete(self, project: str, name: str, by: str, *, checkpoints: bool = False) -> Sequence[Model]:
        """It is gone, and with `checkpoints` these are, too. Returns what is gone.

        Raises StoreError `model_not_found`, `model_in_use` while a job that is not finished needs one, and
        `model_on_line` while a business line is answered by one; then nothing is gone.
        """
        with self._database.write() as session:
            row = find(session, project, name)
            if row.project != project:
                raise StoreError("model_not_found", model=name[:100])
            rows = [row, *(_checkpoints(session, row) if checkpoints else ())]
            for one in rows:
                _delete(session, one, by)
        return rows

    def allow(self, project: str, name: str, by: str, reason: str) -> Model:
        """Let it be called whatever its evaluation said. It is logged who said so and why."""
        return self._turn(project, name, True, "overridden", by, reason)

    def withdraw(self, project: str, name: str, by: str, reason: str) -> Model:
        """Let it not be called any more, until it is allowed."""
        return self._turn(project, name, False, "withdrawn", by, reason)

    def log(self, project: str, name: str) -> Sequence[ModelLog]:
        """What happened to it, oldest first."""
        with self._database.read() as session:
            row = find(session, project, name)
            return session.scalars(select(ModelLog).where(ModelLog.model_id == row.id).order_by(ModelLog.seq)).all()

    def note(self, project: str, name: str) -> ModelNote | None:
        """What the project wrote beside it."""
        with self._database.read() as session:
            return session.get(ModelNote, (find(session, project, name).id, project))

    def set_note(self, project: str, name: str, text: str, by: str, *, version: str | None = None) -> ModelNote:
        """Write it anew, whole; `version`: of the state that was read. Raises StoreError `stale_version`."""
        with self._database.write() as session:
            row = find(session, project, name)
            session.scalar(select(Model.seq).where(Model.id == row.id).with_for_update())  # one at a time
            made = session.get(ModelNote, (row.id, project))
            require_version(version, note_version(made), "note")
            if made is None:
                made = ModelNote(model_id=row.id, project=project, text=text, by=by, updated_at=now())
                session.add(made)
            made.text, made.by, made.updated_at = text, by, now()
        return made

    def step(self, row: Model) -> int | None:
        """After which update a checkpoint was taken; None of a finished model."""
        if row.checkpoint_id is None:
            return None
        with self._database.read() as session:
            return session.scalar(select(Checkpoint.step).where(Checkpoint.id == row.checkpoint_id))

    def _turn(self, project: str, name: str, live: bool, action: str, by: str, reason: str) -> Model:
        with self._database.write() as session:
            row = find(session, project, name)
            if row.project != project:
                raise StoreError("model_not_found", model=name[:100])
            if row.live != live:
                row.live = live
                log(session, row.id, action, by, reason)
                record(session, TURNS[action], row.id, reason, project=project)
        return row

    # ── who else may use a checkpoint ──

    def permit(self, project: str, name: str, projects: Sequence[str]) -> Sequence[Permission]:
        """Let other projects use it; again is no harm."""
        with self._database.write() as session:
            row = find(session, project, name)
            if row.project != project:
                raise StoreError("model_not_found", model=name[:100])
            made = []
            for other in dict.fromkeys(projects):
                known = session.scalar(
                    select(Permission).where(Permission.model_id == row.id, Permission.project == other)
                )
                if known is None:
                    known = Permission(id=new_id("cp_"), model_id=row.id, project=other, created_at=now())
                    session.add(known)
                    session.flush()
                    record(session, "model_shared", row.id, other, project=project)
                made.append(known)
        return made

    def permissions(
        self,
        project: str,
        name: str,
        *,
        for_project: str | None = None,
        after: str | None = None,
        limit: int = 10,
        ascending: bool = False,
    ) -> Page[Permission]:
        """Newest first unless `ascending`."""
        with self._database.read() as session:
            row = find(session, project, name)
            query = select(Permission).where(Permission.model_id == row.id)
            if for_project:
                query = query.where(Permission.project == for_project)
            return page(session, Permission, query, row.id, after, limit, ascending=ascending)

    def forbid(self, project: str, name: str, permission_id: str) -> None:
        """Raises StoreError `permission_not_found`."""
        with self._database.write() as session:
            row = find(session, project, name)
            found = session.scalar(
                select(Permission).where(Permission.model_id == row.id, Permission.id == permission_id)
            )
            if found is None or row.project != project:
                raise StoreError("permission_not_found", permission=permission_id[:80])
            bury(session, found, row.id)
            record(session, "model_unshared", row.id, found.project, project=project)


def _checkpoints(session: Session, model: Model) -> Sequence[Model]:
    if model.checkpoint_id is not None or model.job_id is None:
        return ()
    of_the_job = select(Model).where(Model.job_id == model.job_id, Model.checkpoint_id.is_not(None))
    return session.scalars(of_the_job.where(Model.id.not_in(select(Permission.model_id)))).all()


def _delete(session: Session, row: Model, by: str) -> None:
    user = session.scalar(select(Job.id).where(Job.model == row.id, Job.status.not_in(TERMINAL)))
    if user:
        raise StoreError("model_in_use", model=row.id, job=user)
    line = session.scalar(select(Line.name).where(Line.model == row.id))
    if line:
        raise StoreError("model_on_line", model=row.id, line=line)
    log(session, row.id, "deleted", by, "")
    record(session, "model_deleted", row.id, project=row.project)
    session.query(ModelNote).filter_by(model_id=row.id).delete()
    bury(session, row, row.project)


def note_version(note: ModelNote | None) -> str:
    """The name of the present state of a note."""
    return version_of(note.text) if note is not None and note.text else ABSENT


def find(session: Session, project: str, name: str) -> Model:
    """Raises StoreError `model_not_found`."""
    row = session.scalar(select(Model).where(Model.id == name))
    if row is not None and row.project != project:
        shared = session.scalar(select(Permission.id).where(Permission.model_id == name, Permission.project == project))
        row = row if shared else None
    if row is None:
        raise StoreError("model_not_found", model=name[:100])
    return row


def add(
    session: Session,
    *,
    project: str,
    name: str,
    base: str,
    base_sha256: str,
    adapter_sha256: str,
    directory: str,
    job_id: str | None = None,
    checkpoint: Checkpoint | None = None,
    result: Mapping[str, Any] | None = None,
) -> Model:
    """A new name, live unless its evaluation (`verdict` and `readiness` of `result`) says that it is worse than the
    base, or that its answers cannot be used."""
    verdict = judged(result or {})
    reason = next((word for word in _outcome_and_level(verdict) if word in HELD), None)
    row = Model(
        id=name,
        project=project,
        base=base,
        base_sha256=base_sha256,
        adapter_sha256=adapter_sha256,
        directory=directory,
        job_id=job_id,
        checkpoint_id=checkpoint.id if checkpoint else None,
        verdict=verdict,
        live=reason is None,
        created_at=now(),
    )
    session.add(row)
    outcome = reason or (str(verdict["outcome"]) if verdict else "not_evaluated")
    log(session, name, "held" if reason else "released", "evaluation", outcome)
    record(session, "model_held" if reason else "model_released", name, outcome, project=project)
    return row


def judged(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The verdict of a result with level and forgetting inside, as a model keeps it; None if it was not evaluated."""
    if not result.get("verdict"):
        return None
    return {**result["verdict"], "readiness": result.get("readiness"), "forgetting": result.get("forgetting")}


def _outcome_and_level(verdict: Mapping[str, Any] | None) -> tuple[str | None, str | None]:
    if verdict is None:
        return None, None
    return verdict.get("outcome"), (verdict.get("readiness") or {}).get("level")


def log(session: Session, name: str, action: str, by: str, reason: str) -> None:
    session.add(ModelLog(model_id=name, action=action, by=by, reason=reason[:1000], created_at=now()))
