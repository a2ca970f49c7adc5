"""What was acknowledged is kept, two writers take turns, and an unfit place is refused."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from postil.errors import StoreError
from postil.store import LOCAL, Store, open_store
from postil.store import database as room
from postil.store.database import Database
from postil.store.migrate import revision, upgrade
from postil.store.tables import Project, Table


def test_sqlite_is_set_to_keep_what_it_acknowledges(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for engine in (store.database.writer, store.database.reader):
        with engine.connect() as connection:
            found = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in room.PRAGMAS}
        assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def test_a_setting_that_does_not_hold_is_refused() -> None:
    with pytest.raises(StoreError, match="journal_mode") as refused:
        Database("sqlite://")  # in memory: no WAL
    assert refused.value.code == "database_unfit"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p"])
def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(room, "file_system", lambda path: kind)
    with pytest.raises(StoreError) as refused:
        Store(tmp_path)
    assert refused.value.code == "network_file_system" and kind in str(refused.value)
    assert not list(tmp_path.glob("postil.db*"))


def test_the_file_system_of_a_place_is_that_of_its_innermost_mount() -> None:
    assert room.file_system(Path("/proc/self")) == "proc"
    assert room.file_system(Path("/no/such/place")) == room.file_system(Path("/"))


def test_the_tables_are_those_of_the_ledger(tmp_path: Path, database: str) -> None:
    store = Store(tmp_path, database)
    with store.database.writer.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
        assert revision(connection) == "0004"
    upgrade(store.database)  # again is no harm
    store.close()


def test_a_database_of_a_newer_postil_is_refused(tmp_path: Path, database: str) -> None:
    store = Store(tmp_path, database)
    with store.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num='9999'"))
    store.close()
    with pytest.raises(StoreError) as refused:
        Store(tmp_path, database)
    assert refused.value.code == "database_newer"


def test_fault_20_a_migration_that_is_interrupted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import op

    made = [0]
    real = op.create_table

    def third_fails(*args: object, **kwargs: object) -> object:
        made[0] += 1
        if made[0] == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(op, "create_table", third_fails)
        Store(tmp_path)
    assert sqlite3.connect(tmp_path / "postil.db").execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    Store(tmp_path).close()


def test_stores_that_open_at_once_migrate_once(tmp_path: Path, database: str) -> None:
    faults: list[BaseException] = []

    def open_it() -> None:
        try:
            Store(tmp_path, database).close()
        except BaseException as fault:  # noqa: BLE001 - told by the assertion
            faults.append(fault)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_an_undone_transaction_leaves_nothing(tmp_path: Path, database: str) -> None:
    store = Store(tmp_path, database)
    with pytest.raises(ZeroDivisionError), store.database.write() as session:
        session.add(Project(id="p", quota_bytes=None, created_at=0))
        session.flush()
        raise ZeroDivisionError
    with store.database.read() as session:
        assert session.scalars(select(Project.id)).all() == [LOCAL]
    store.close()


def test_fault_08_many_writers_of_two_stores_take_turns(tmp_path: Path, database: str) -> None:
    stores = [Store(tmp_path, database) for _ in range(2)]

    def count(store: Store) -> None:
        for _ in range(10):
            with store.database.write() as session:
                row = session.scalar(select(Project).where(Project.id == LOCAL).with_for_update())
                assert row is not None
                row.quota_bytes = (row.quota_bytes or 0) + 1

    threads = [threading.Thread(target=count, args=(stores[i % 2],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with stores[0].database.read() as session:
        assert session.scalar(select(Project.quota_bytes)) == 60
    for store in stores:
        store.close()


def test_a_backup_is_whole_while_the_database_is_in_use(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.database.write() as session:
        session.add(Project(id="unseen", quota_bytes=None, created_at=0))
        session.flush()
        store.database.backup(tmp_path / "copy.db")
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert copy.execute("SELECT id FROM projects").fetchall() == [(LOCAL,)]
    with pytest.raises(StoreError, match=r"copy\.db"):
        store.database.backup(tmp_path / "copy.db")
    store.close()


def test_a_damaged_database_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.database.check()
    with store.database.write() as session:
        session.add_all(Project(id=f"p{i}" + "x" * 500, quota_bytes=None, created_at=0) for i in range(200))
    store.close()
    sqlite3.connect(tmp_path / "postil.db").execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray((tmp_path / "postil.db").read_bytes())
    start = content.find(b"p150x")
    content[start - 2 : start] = b"\xff\xff"
    content[start : start + 300] = bytes(300)
    (tmp_path / "postil.db").write_bytes(content)
    with pytest.raises(StoreError) as refused:
        Store(tmp_path).database.check()
    assert refused.value.code == "database_damaged"


def test_fault_11_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.database.writer.connect() as connection:
        connection.execute(text("PRAGMA max_page_count=1"))  # no page more than it has
    with pytest.raises(StoreError) as refused, store.database.write() as session:
        session.add_all(Project(id=f"p{i}" + "x" * 2000, quota_bytes=None, created_at=0) for i in range(100))
    assert refused.value.code == "storage_full"
    with store.database.read() as session:
        assert session.scalars(select(Project.id)).all() == [LOCAL]
    store.close()


def test_a_database_that_does_not_answer_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        Store(tmp_path, "postgresql://nobody@127.0.0.1:1/none")
    assert refused.value.code == "database_unreachable"


def test_the_settings_name_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTIL_DATA", str(tmp_path / "here"))
    store = open_store()
    assert store.directory == (tmp_path / "here").resolve() and (tmp_path / "here" / "postil.db").exists()
    store.close()
