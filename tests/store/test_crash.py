"""A database whose process is killed, whose log is deleted, or that may not be written."""

from __future__ import annotations

import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from postil.errors import StoreError
from postil.settings import for_child
from postil.store import LOCAL, Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that can fork")
HERE = Path(__file__).parents[2]


def killed(work: Callable[[int], None], seconds: float, *, begun: bool = True) -> list[int]:
    """Fork, let `work(handle)` run and be killed `seconds` after its first word; what it acknowledged on the handle."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(tell)
        finally:
            os._exit(0)
    os.close(tell)
    if begun:
        assert select.select([told], [], [], 60)[0]
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    acknowledged = b""
    while piece := os.read(told, 1 << 16):
        acknowledged += piece
    os.close(told)
    return [int(line) for line in acknowledged.split(b"\n")[:-1]]


def pairs(directory: Path, begin: int) -> Callable[[int], None]:
    """Writes two keys that belong together in each transaction, and acknowledges it when it is committed."""

    def work(tell: int) -> None:
        store = Store(directory)
        number = begin
        while True:
            number += 1
            with store.database.write() as session:
                for half in ("a", "b"):
                    session.execute(text("INSERT INTO projects (id, created_at) VALUES (:id, 0)"),
                                    {"id": f"{half}{number}"})  # fmt: skip
            os.write(tell, b"%d\n" % number)

    return work


def found(directory: Path) -> set[int]:
    store = Store(directory)
    try:
        store.database.check()
        with store.database.read() as session:
            ids = [row[0] for row in session.execute(text("SELECT id FROM projects")) if row[0] != LOCAL]
    finally:
        store.close()
    halves = [{int(one[1:]) for one in ids if one[0] == half} for half in "ab"]
    assert halves[0] == halves[1]
    return halves[0]


@pytest.mark.full
def test_fault_16_killed_in_the_middle_of_transactions(tmp_path: Path) -> None:
    """What was acknowledged is there, and of what was not there is all or nothing."""
    chance, last = random.Random(16), 0
    Store(tmp_path).close()
    for _ in range(200):
        acknowledged = killed(pairs(tmp_path, last), chance.random() * 0.05)
        there = found(tmp_path)
        assert set(acknowledged) <= there
        assert len(there) <= last + len(acknowledged) + 1  # at most the one that was being written
        last = max(there)
    assert last >= 200


def test_fault_16_a_log_that_was_deleted_is_missed(tmp_path: Path) -> None:
    Store(tmp_path).close()
    acknowledged = killed(pairs(tmp_path, 0), 0.5)
    log = tmp_path / "postil.db-wal"
    kept = log.read_bytes()
    assert acknowledged and kept
    log.unlink()
    with pytest.raises(StoreError) as refused:
        Store(tmp_path)
    assert refused.value.code == "database_log_gone" and "postil.db-shm" in refused.value.remedy("en")
    log.write_bytes(kept)
    assert set(acknowledged) <= found(tmp_path)


@pytest.mark.full
def test_fault_16_who_wants_to_go_on_without_the_log_can(tmp_path: Path) -> None:
    Store(tmp_path).close()
    killed(pairs(tmp_path, 0), 0.2)
    for part in ("wal", "shm"):
        (tmp_path / f"postil.db-{part}").unlink()
    found(tmp_path)


@pytest.mark.full
def test_fault_16_a_store_that_is_closed_and_opened_by_many_is_never_refused(tmp_path: Path) -> None:
    """The last one to close removes the log a moment before its index."""
    Store(tmp_path).close()
    code = (
        "import sys; from pathlib import Path; from postil.store import Store\n"
        "for _ in range(20): Store(Path(sys.argv[1])).close()"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=for_child(), cwd=HERE,
                                stderr=subprocess.PIPE) for _ in range(3)]  # fmt: skip
    assert [one.communicate(timeout=120)[1].decode()[-300:] for one in started] == [""] * 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_fault_16_a_database_that_may_only_be_read(tmp_path: Path) -> None:
    for place in (tmp_path, *tmp_path.parents):  # each of them can be entered
        if place.stat().st_uid == os.geteuid():
            place.chmod(place.stat().st_mode | 0o555)
    Store(tmp_path).close()

    def work(tell: int) -> None:
        os.setgid(65534)
        os.setuid(65534)
        try:
            Store(tmp_path)
        except StoreError as error:
            os.write(tell, b"%d\n" % (error.code in ("database_read_only", "database_unreachable")))

    assert killed(work, 0.0) == [1]


def test_fault_16_a_database_that_becomes_read_only_is_told_as_such(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.database.write() as session:
        session.execute(text("PRAGMA query_only=1"))
    with pytest.raises(StoreError) as refused:
        store.keys.create(LOCAL, "x", ["read"])
    store.close()
    assert refused.value.code == "database_read_only"


def tables_in(place: Path) -> int:
    connection = sqlite3.connect(place / "postil.db")
    try:
        return int(connection.execute("SELECT count(*) FROM sqlite_master WHERE type='table'").fetchone()[0])
    finally:
        connection.close()


@pytest.mark.full
def test_fault_20_killed_during_a_migration(tmp_path: Path) -> None:
    """The tables are all there or none; the next one to open the store makes them."""
    chance, none, began = random.Random(20), 0, time.monotonic()
    Store(tmp_path / "undisturbed").close()
    usual, whole = time.monotonic() - began, tables_in(tmp_path / "undisturbed")
    for number in range(60):
        place = tmp_path / str(number)
        open_store = lambda tell, place=place: Store(place).close()  # noqa: E731
        killed(open_store, chance.random() * usual * 1.2, begun=False)
        if (place / "postil.db").exists():
            tables = tables_in(place)
            assert tables in (0, whole), tables
            none += tables == 0
        store = Store(place)
        store.database.check()
        store.close()
    print(f"{none} of 60 were killed before the tables were there")
