"""Tables that were looked at, kept beside the store so that the next window of one is there at once.

<sha256>.table is what is in a file, <sha256>-<digest of the reading>.found what one way of reading it says of its rows,
and .told what a check says of the whole in one language.
Both are made by processes of their own and can be made again: the least used go when there are too many, and all of a
file go with its bytes.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 30
Make = Callable[[], AbstractContextManager[Path]]  # makes the file somewhere on the same disk


class Looks:
    """Threads share it. `known`: whether there still are bytes of this SHA-256."""

    def __init__(self, directory: Path, known: Callable[[str], bool], most_bytes: int = MOST_BYTES) -> None:
        self._directory, self._known, self._most = directory, known, most_bytes
        self._making: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def table(self, sha256: str, make: Make) -> Path:
        """What is in a file; made if it is not there."""
        return self._kept(f"{sha256}.table", make)

    def findings(self, sha256: str, reading: Mapping[str, Any], make: Make) -> Path:
        """What this way of reading it says of its rows; made if it is not there."""
        return self._kept(self._name(sha256, reading), make)

    def told(self, sha256: str, reading: Mapping[str, Any], make: Make) -> Path:
        """What a check of it says; made if it is not there. `reading`: with all that the words depend on."""
        return self._kept(self._name(sha256, reading, "told"), make)

    def found(self, sha256: str, reading: Mapping[str, Any]) -> Path | None:
        """The same if it is there."""
        path = self._directory / self._name(sha256, reading)
        return path if path.exists() else None

    def forget(self, sha256: str) -> None:
        """Nothing of this file is kept any more."""
        for path in self._directory.glob(f"{sha256}*"):
            path.unlink(missing_ok=True)

    def sweep(self, keep: Path | None = None) -> None:
        """Drop what is of files that are gone, then the least used until the rest has room. `keep` stays."""
        entries = []
        for path in self._directory.iterdir() if self._directory.exists() else ():
            try:
                told = path.stat()
            except FileNotFoundError:
                continue
            if path != keep and not self._known(path.name[:64]):
                path.unlink(missing_ok=True)
            else:
                entries.append((path == keep, told.st_mtime_ns, told.st_size, path))
        total = sum(size for _, _, size, _ in entries)
        for kept, _, size, path in sorted(entries, key=lambda one: one[:2]):
            if total <= self._most or kept:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _kept(self, name: str, make: Make) -> Path:
        path = self._directory / name
        with self._making[name]:
            if path.exists():
                path.touch()
            else:
                self._directory.mkdir(exist_ok=True)
                with make() as made:
                    made.replace(path)
                self.sweep(path)
        return path

    def _name(self, sha256: str, reading: Mapping[str, Any], ending: str = "found") -> str:
        digest = hashlib.sha256(json.dumps(reading, sort_keys=True).encode()).hexdigest()[:32]
        return f"{sha256}-{digest}.{ending}"
