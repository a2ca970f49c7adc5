"""A database and the directory that belongs to it: the same random id stands in both.

Jobs, adapters and files lie in the directory, and the database names them. With another's directory a server would list
models that it cannot answer, call jobs of others lost, and tidy away what its own database does not know.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.store.database import Database
from postil.store.files import write_text
from postil.store.ids import letters
from postil.store.tables import Directory, Job, Model

NAME = "directory.id"
CONTENTS = ("adapters", "jobs")  # what a database names
LOCK = 0x506F7375  # one at a time on PostgreSQL; SQLite's write transaction is such a lock by itself
LOOKED_AT = 1000  # models


def pair(database: Database, directory: Path, *, inside: bool) -> None:
    """Let the two belong together from the first start on. `inside`: the database lies in the directory itself.

    Raises StoreError `directory_elsewhere` when the database belongs to another directory, `directory_of_another` when
    the directory belongs to another database.
    """
    with database.write() as session:
        if not database.is_sqlite:
            session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        row, here = session.get(Directory, 1), read(directory)
        refusal = None if inside else _refusal(session, directory, row, here)
        if refusal != "directory_of_another" and row is None:
            row = Directory(place=1, id=here or f"dir_{letters(24)}")
            session.add(row)
        if refusal is None and row is not None and here != row.id:
            write_text(directory / NAME, row.id + "\n")
    if refusal:
        raise StoreError(refusal, path=str(directory), file=NAME, id=row.id if row else "")


def read(directory: Path) -> str:
    """The id in the directory; empty when there is none."""
    try:
        return (directory / NAME).read_text("utf-8").strip()[:64]
    except (OSError, ValueError):
        return ""


def _refusal(session: Session, directory: Path, row: Directory | None, here: str) -> str | None:
    """Why the two may not be used together, if so: the code of an error."""
    if row is not None and here:
        return None if row.id == here else "directory_of_another"
    models = session.scalars(select(Model.directory).limit(LOOKED_AT)).all()
    if any((directory / model).exists() for model in models):
        return None  # adapters are named by their contents: it is the one
    if row is not None or (models and not here):
        return "directory_elsewhere"
    if not models and session.scalar(select(Job.seq).limit(1)):
        return None if not here else "directory_of_another"  # no model to tell by
    return "directory_of_another" if models or _holds_something(directory) else None


def _holds_something(directory: Path) -> bool:
    return any(any((directory / name).glob("*")) for name in CONTENTS)
