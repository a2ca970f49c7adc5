"""A PostgreSQL server of our own for the tests: on loopback, in a temporary directory, never as root."""

from __future__ import annotations

import os
import pwd
import shutil
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


@contextmanager
def server() -> Iterator[str]:
    """The address of a running server, with a place for a database's name at its end."""
    where = binaries()
    assert where is not None
    user = _other_user()
    root = Path(tempfile.mkdtemp(prefix="postil-pg-"))
    data, port = root / "data", _free_port()
    if user:
        shutil.chown(root, user)
    run = {"user": user} if user else {}
    quiet = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.PIPE,
        "cwd": root,
        "env": {"PATH": os.defpath, "LC_ALL": "C"},
    }
    command = [where / "initdb", "-D", data, "-U", "postil", "--auth=trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(command, check=True, **run, **quiet)  # fmt: skip
    process = subprocess.Popen(
        [where / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", str(root), "-c", "fsync=off",
         "-c", "max_connections=200"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root,
        env={"PATH": os.defpath, "LC_ALL": "C"}, **run,
    )  # fmt: skip
    address = f"postgresql://postil@127.0.0.1:{port}/"
    try:
        _wait(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(root, ignore_errors=True)


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
