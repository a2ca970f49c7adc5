"""Atomic writes: after a crash or a power cut a file is the old one or the new one, never half of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

from postil.store.private import CLOSED, is_private


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` at `path`: written beside it, synced, then renamed over it."""
    make_directory(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync(path: Path) -> None:
    """Make what a library has written at `path` last."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def temporary_directory(final: Path) -> Iterator[Path]:
    """A new directory beside `final`, to be filled and then published; removed if it was not."""
    make_directory(final.parent)
    made = Path(tempfile.mkdtemp(prefix=".tmp-", dir=final.parent))
    try:
        yield made
    finally:
        if made.exists():
            rmtree(made, ignore_errors=True)


def make_directory(path: Path, *, private: bool = False) -> None:
    """Make `path` and what it lies in, each named for good in its own directory: what is synced in it can be found.

    private: new ones are for this user alone; below the store's directory they always are.
    """
    new = [place for place in (path, *path.parents) if not place.exists()]
    for place in reversed(new):
        place.mkdir(CLOSED if private or is_private(place) else 0o777, exist_ok=True)
        sync_directory(place.parent)
    path.mkdir(exist_ok=True)  # raises for a file that stands in its place


def publish(made: Path, final: Path) -> None:
    """Sync all that is in `made`, then rename the directory to `final`, which must not exist."""
    for file in made.rglob("*"):
        if file.is_file():
            with file.open("rb+" if os.name == "nt" else "rb") as opened:  # a linked file may be read-only
                os.fsync(opened.fileno())
        elif file.is_dir():
            sync_directory(file)
    sync_directory(made)
    made.rename(final)
    sync_directory(final.parent)


def sync_directory(directory: Path) -> None:
    """Make renames in `directory` survive a power cut; where the system cannot (Windows), it is left to it."""
    with suppress(OSError, PermissionError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that nobody changes any more; a synced copy where the disk cannot give one."""
    try:
        os.link(source, target)
    except OSError:
        with source.open("rb") as old, target.open("wb") as new:
            shutil.copyfileobj(old, new, 1 << 20)
            new.flush()
            os.fsync(new.fileno())


def sha256(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
