"""The tables are brought up to date when the store is opened, in one transaction, by whoever comes first."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from postil.errors import StoreError
from postil.store.database import Database, told

HERE = Path(__file__).parent / "migrations"
LOCK = 0x506F7374  # one at a time on PostgreSQL; SQLite's write transaction is such a lock by itself


def upgrade(database: Database, to: str = "head") -> None:
    """Raises StoreError `database_newer` when a newer Postil has written it."""
    with told(), database.writer.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        found = revision(connection)
        config = Config()
        config.set_main_option("script_location", str(HERE).replace("%", "%%"))
        known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
        if found is not None and found not in known:
            raise StoreError("database_newer", found=found)
        if found == known[0]:
            return
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def revision(connection: Connection) -> str | None:
    """What the tables are at, None before the first."""
    return MigrationContext.configure(connection).get_current_revision()
