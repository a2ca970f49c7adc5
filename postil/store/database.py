"""One database, SQLite or PostgreSQL, with the same queries: how it is opened, read and written.

SQLite is set to keep what it has acknowledged even through a power cut (WAL and synchronous=FULL), and what was set is
read back. A process has one writing connection; a write begins IMMEDIATE, so that it waits for its turn instead of
failing in the middle.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, QueuePool, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InternalError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.extras import load
from postil.secret import Address

PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}
# Pages that a connection keeps. SQLite's own 2 MB, for each of nine, fill up over hours; the system keeps what
# is read often anyway.
KEPT_KIB = 256
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smbfs", "smb2", "smb3", "9p", "afpfs", "webdav", "fuse.sshfs", "ncpfs"}
)
WAIT_SECONDS = 30  # for a connection of ours that another thread holds
# Of a connection to PostgreSQL whose other end is gone without a word: seconds, and at last milliseconds. Without them
# the system waits for a quarter of an hour and more, and with it whoever asked: the watch, too.
ALIVE = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3,
         "tcp_user_timeout": 60_000}  # fmt: skip
FULL = ("disk is full", "no space left", "could not extend file")
READ_ONLY = ("readonly database", "read-only transaction")
CLOSING_SECONDS = 1.0  # at most, from the removal of the log to that of its index, when another process closes last
_LOOKING: ContextVar[bool] = ContextVar("looking", default=False)


@contextmanager
def looking() -> Iterator[None]:
    """Within it this task or thread reads and writes nothing: a write is a mistake of ours, and is refused."""
    before = _LOOKING.set(True)
    try:
        yield
    finally:
        _LOOKING.reset(before)


class Database:
    """Sessions on one database. Raises StoreError `network_file_system`, `database_unfit`, `database_unreachable`."""

    def __init__(self, url: str) -> None:
        self.url = _read_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            refuse_network(Path(str(self.url.database)))
            refuse_without_log(Path(str(self.url.database)))
        elif self.url.get_backend_name() == "postgresql":
            load("psycopg", "postgres", StoreError)
            self.url = self.url.set(drivername="postgresql+psycopg")
        self.writer = _engine(self.url, "IMMEDIATE", 1 if self.is_sqlite else 8)
        self.reader = _engine(self.url, "DEFERRED", 8)
        self._read_back()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that may change things: committed at its end, undone by an exception."""
        if _LOOKING.get():
            raise RuntimeError("something is written where one only looks")
        with told(), Session(self.writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent view, which nothing is written through."""
        with told(), Session(self.reader, expire_on_commit=False) as session, session.begin():
            yield session

    def is_in(self, directory: Path) -> bool:
        """Whether it is a file right in this directory."""
        return self.is_sqlite and Path(str(self.url.database)).resolve().parent == directory.resolve()

    def check(self) -> None:
        """Raise StoreError `database_damaged` when the database says so of itself."""
        if self.is_sqlite:
            with self.read() as session:
                found = str(session.execute(text("PRAGMA integrity_check")).scalar())
            if found != "ok":
                raise StoreError("database_damaged", detail=found[:200])

    def backup(self, to: Path) -> None:
        """A whole copy of a SQLite database while it is in use. PostgreSQL has pg_dump for that."""
        if not self.is_sqlite:
            raise StoreError("backup_elsewhere")
        if to.exists():
            raise StoreError("backup_exists", path=str(to))
        with told(), self.reader.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None
            raw.execute("VACUUM INTO ?", (str(to),))

    def close(self) -> None:
        self.writer.dispose()
        self.reader.dispose()

    def _read_back(self) -> None:
        with told(), self.writer.connect() as connection:
            for name, wanted in PRAGMAS.items() if self.is_sqlite else ():
                found = connection.execute(text(f"PRAGMA {name}")).scalar()
                if found != wanted:
                    raise StoreError("database_unfit", name=name, wanted=wanted, found=found)


def _read_url(text: str) -> URL:
    """Raises StoreError `database_address` for what is no address of a database that will do."""
    shown = str(Address(text))[:200]
    try:
        url = make_url(text)
        known = url.get_backend_name() in ("sqlite", "postgresql")
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise StoreError("database_address", address=shown) from None
    if not known or "@" in (url.host or ""):  # an @ of the password that is not written as %40
        raise StoreError("database_address", address=shown)
    return url


def _engine(url: URL, begin: str, size: int) -> Engine:
    if url.get_backend_name() != "sqlite":
        unsaid = {name: number for name, number in ALIVE.items() if name not in url.query}
        return create_engine(
            url,
            pool_size=size,
            max_overflow=0,
            pool_timeout=WAIT_SECONDS,
            pool_pre_ping=True,
            connect_args=unsaid,
            hide_parameters=True,  # what was to be written stands in no error, and so in no log
        )
    engine = create_engine(url, poolclass=QueuePool, pool_size=size, max_overflow=0, pool_timeout=WAIT_SECONDS,
                           connect_args={"check_same_thread": False}, hide_parameters=True)  # fmt: skip

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves
        for name, value in PRAGMAS.items():
            connection.execute(f"PRAGMA {name}={value}")
        connection.execute("PRAGMA fullfsync=1")  # macOS; elsewhere nothing
        connection.execute(f"PRAGMA cache_size=-{KEPT_KIB}")

    @event.listens_for(engine, "begin")
    def start(connection: Any) -> None:
        connection.exec_driver_sql(f"BEGIN {begin}")

    return engine


@contextmanager
def told() -> Iterator[None]:
    """What the database cannot do, in our words; everything else is a fault of ours and stays what it is."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreError("database_busy") from error
    except (OperationalError, InterfaceError, InternalError, sqlite3.OperationalError) as error:
        said = str(error.orig if isinstance(error, DBAPIError) else error).lower()
        if any(words in said for words in READ_ONLY):
            raise StoreError("database_read_only") from error
        if isinstance(error, InternalError):
            raise
        if any(words in said for words in FULL):
            raise StoreError("storage_full") from error
        if "locked" in said or "busy" in said:
            raise StoreError("database_busy") from error
        raise StoreError("database_unreachable", detail=said.splitlines()[0][:200] if said else "") from error


def refuse_network(path: Path) -> None:
    """SQLite's locks do not hold on network file systems."""
    place = path.absolute().parent
    kind = file_system(place)
    if kind in NETWORK:
        raise StoreError("network_file_system", path=str(place), kind=kind)


def refuse_without_log(path: Path) -> None:
    """After a kill, acknowledged transactions stand in the log (-wal) alone. Its index (-shm) tells that there was one.

    SQLite itself would open the database without a word, as it was some time ago.
    Raises StoreError `database_log_gone`.
    """
    log, index = (path.with_name(f"{path.name}-{part}") for part in ("wal", "shm"))
    until = time.monotonic() + CLOSING_SECONDS
    while path.exists() and index.exists() and not log.exists():
        if time.monotonic() > until:
            raise StoreError("database_log_gone", log=str(log), index=str(index))
        time.sleep(0.05)


def file_system(path: Path) -> str:
    """The kind of the file system on which `path` lies or would lie, in lower case; empty when it is not known."""
    while not path.exists():
        path = path.parent
    here = path.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if here.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype.lower() if mounts else ""
