"""A PostgreSQL server of our own for the tests: on loopback, in a temporary directory, never as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

PLACES = ("/usr/local/bin", "/usr/lib/postgresql/*/bin", "/opt/homebrew/bin", "/usr/pgsql-*/bin")


def binaries() -> Path | None:
    """Where postgres and initdb lie together, None where they are not installed."""
    found = [str(place) for pattern in PLACES for place in sorted(Path("/").glob(pattern[1:]), reverse=True)]
    on_path = shutil.which("initdb")
    for place in [*([str(Path(on_path).parent)] if on_path else []), *found]:
        if (Path(place) / "initdb").exists() and (Path(place) / "postgres").exists():
            return Path(place)
    return None


class Running:
    """A server of our own in a temporary directory, which can be killed and started again. `address`: its URL, with a
    place for a database's name at its end."""

    def __init__(self, where: Path, root: Path, user: str | None, *, fsync: bool) -> None:
        self._where, self._root, self._port, self._fsync = where, root, _free_port(), fsync
        self._run: dict[str, str] = {"user": user} if user else {}
        self.address = f"postgresql://postil@127.0.0.1:{self._port}/"
        if user:
            shutil.chown(root, user)
        command = [where / "initdb", "-D", root / "data", "-U", "postil", "--auth=trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=root,
                       env={"PATH": os.defpath, "LC_ALL": "C"}, **self._run)  # type: ignore[call-overload]  # fmt: skip
        self.start()

    def start(self) -> None:
        """And wait until it answers."""
        self.process = subprocess.Popen(
            [self._where / "postgres", "-D", self._root / "data", "-h", "127.0.0.1", "-p", str(self._port), "-k",
             str(self._root), "-c", f"fsync={'on' if self._fsync else 'off'}", "-c", "max_connections=200"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._root,
            env={"PATH": os.defpath, "LC_ALL": "C"}, **self._run,
        )  # type: ignore[call-overload]  # fmt: skip
        _wait(self.address, self.process)

    def kill(self) -> None:
        """At once, without closing anything (SIGQUIT: with all of its processes)."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@contextmanager
def running(*, fsync: bool = False) -> Iterator[Running]:
    """A running server."""
    where = binaries()
    assert where is not None
    root = Path(tempfile.mkdtemp(prefix="postil-pg-"))
    made = Running(where, root, _other_user(), fsync=fsync)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def server() -> Iterator[str]:
    """The address of a running server."""
    with running() as made:
        yield made.address


@contextmanager
def database(address: str) -> Iterator[str]:
    """The URL of a new, empty database on that server."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(address + "postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield address + name
    finally:
        with psycopg.connect(address + "postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _other_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "PostgreSQL ended at once"
        try:
            psycopg.connect(address + "postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("PostgreSQL did not answer")
