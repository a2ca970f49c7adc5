"""Business lines: names that can be called, each answered by the model that it was given last."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.audit import record
from postil.store.database import Database
from postil.store.ids import new_id, now
from postil.store.tables import Line, LineLog
from postil.store.versions import ABSENT, require_version, version_of

LINE = "line:"  # before the name, where a model is asked for


class Lines:
    """The lines of all projects. `model=line:<name>` in a chat request asks the line's model."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(
        self,
        project: str,
        name: str,
        model: str,
        by: str,
        reason: str,
        title: str | None = None,
        *,
        version: str | None = None,
    ) -> Line:
        """Give the line this model, from now on; the line is made if it is new. The same model again changes nothing.

        The caller has looked that the model may be called. `version`: of the state that was read, "" for no such line.
        Raises StoreError `stale_version`.
        """
        with self._database.write() as session:
            row = session.scalar(_named(project, name).with_for_update())
            require_version(version, line_version(row), "line")
            if row is None:
                row = Line(id=new_id("line_"), project=project, name=name, title=title or name, model="",
                           created_at=now(), updated_at=now())  # fmt: skip
                session.add(row)
                session.flush()
            row.title = title or row.title
            if row.model != model:
                self._turn(session, row, "set", model, by, reason)
        return row

    def roll_back(self, project: str, name: str, by: str, reason: str, *, version: str | None = None) -> Line:
        """The model before the present one. Again: the one before that. `version`: of the state that was read.

        Raises StoreError `line_not_found`, `stale_version`, and `nothing_before` for a line that never had another
        model.
        """
        with self._database.write() as session:
            row = self._find(session, project, name, lock=True)
            require_version(version, line_version(row), "line")
            earlier = _stack(session.scalars(_log_of(row)).all())[:-1]
            if not earlier:
                raise StoreError("nothing_before", line=row.name)
            self._turn(session, row, "rolled_back", earlier[-1], by, reason)
        return row

    def get(self, project: str, name: str) -> Line:
        """Raises StoreError `line_not_found`."""
        with self._database.read() as session:
            return self._find(session, project, name)

    def list(self, project: str) -> Sequence[Line]:
        """By name."""
        with self._database.read() as session:
            return session.scalars(select(Line).where(Line.project == project).order_by(Line.name)).all()

    def log(self, project: str, name: str) -> Sequence[LineLog]:
        """What was set and rolled back, oldest first."""
        with self._database.read() as session:
            return session.scalars(_log_of(self._find(session, project, name))).all()

    def delete(self, project: str, name: str) -> None:
        """The name is free again, and its log is gone. Raises StoreError `line_not_found`."""
        with self._database.write() as session:
            row = self._find(session, project, name)
            session.query(LineLog).filter_by(line_id=row.id).delete()
            session.delete(row)
            record(session, "line_deleted", row.name, row.model, project=project)

    def _find(self, session: Session, project: str, name: str, *, lock: bool = False) -> Line:
        query = _named(project, name)
        row = session.scalar(query.with_for_update() if lock else query)
        if row is None:
            raise StoreError("line_not_found", line=name[:80])
        return row

    def _turn(self, session: Session, row: Line, action: str, model: str, by: str, reason: str) -> None:
        row.model, row.updated_at = model, now()
        session.add(LineLog(line_id=row.id, action=action, model=model, by=by, reason=reason[:1000], created_at=now()))
        record(session, f"line_{action}", row.name, f"{model} {reason}".strip(), project=row.project)


def line_version(row: Line | None) -> str:
    """The name of the present state of a line: who is about to switch it has seen which model answers now."""
    return version_of(row.id, row.title, row.model) if row is not None else ABSENT


def _named(project: str, name: str) -> Select[Line]:
    return select(Line).where(Line.project == project, Line.name == name.removeprefix(LINE))


def _log_of(row: Line) -> Select[LineLog]:
    return select(LineLog).where(LineLog.line_id == row.id).order_by(LineLog.seq)


def _stack(log: Sequence[LineLog]) -> list[str]:
    """The models that the line can go back through, the present one last."""
    models: list[str] = []
    for entry in log:
        if entry.action == "set":
            models.append(entry.model)
        else:
            models.pop()
    return models
