"""One program at a time trains in the directory of a run: a second one is told who does.

The lock is the operating system's, which takes it from a process however that ends: a kill leaves nothing to clear up.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from postil.errors import TrainError

PLACE = "checkpoints"  # below the run: it is the run's own folder, and no file of the adapter
LOCK, HOLDER = "in-use.lock", "in-use.json"  # the second is read while Windows lets nobody read the first


@contextmanager
def in_use(directory: Path) -> Iterator[None]:
    """Hold the run in `directory` for this process, within the block. Raises TrainError `run_in_use`."""
    folder = directory / PLACE
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as busy:
        raise TrainError("run_in_use", path=str(directory), **_holder(folder)) from busy
    except OSError as denied:
        raise TrainError("directory_not_writable", path=str(directory), place=str(folder)) from denied
    try:
        with suppress(OSError):  # the lock holds without it
            (folder / HOLDER).write_text(json.dumps(_ourselves()), "utf-8")
        yield
    finally:
        try:
            with suppress(OSError):  # somebody may be reading it
                (folder / HOLDER).unlink(missing_ok=True)
        finally:
            lock.release()


def refuse_while_in_use(directory: Path) -> None:
    """Raise TrainError `run_in_use` when another process trains in `directory`. Changes nothing there."""
    if (directory / PLACE / LOCK).exists():
        with in_use(directory):
            return


def is_only_locked(directory: Path) -> bool:
    """Whether nothing but the lock lies in `directory`, so that a new run may begin there."""
    return all(path.name == PLACE and path.is_dir() for path in directory.iterdir()) and all(
        path.name in (LOCK, HOLDER) for path in (directory / PLACE).glob("*")
    )


def _ourselves() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}


def _holder(folder: Path) -> dict[str, Any]:
    try:
        holder = json.loads((folder / HOLDER).read_text("utf-8"))
        return {name: str(holder[name]) for name in ("pid", "host", "since")}
    except (OSError, ValueError, LookupError, TypeError):
        return dict.fromkeys(("pid", "host", "since"), "?")
