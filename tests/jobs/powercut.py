"""A power cut, simulated: what several processes do to a directory is recorded, and for every moment the worst disk
that a system may leave is built from it.

A record is written before each create, mkdir, rename, link and remove, and after each fsync: the event, the whole tree
(path -> inode, kind, contents) and the database as it was committed (SQLite syncs each commit by itself).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATABASE = "postil.db"
Tree = dict[str, tuple[int, str, str]]  # path below the root -> inode, "d" or "f", SHA-256 of the contents


class Recorder:
    """Records what this process does below `root` into `journal`, until `stop`."""

    def __init__(self, root: Path, journal: Path) -> None:
        self._root, self._journal = str(root), journal
        (journal / "contents").mkdir(parents=True, exist_ok=True)
        self._inside = threading.local()
        self._active = True
        self._sync = os.fsync
        os.fsync = self._synced
        sys.addaudithook(self._told)
        self._record("begin")

    def stop(self) -> None:
        self._record("end")
        self._active = False
        os.fsync = self._sync

    def _synced(self, handle: int) -> None:
        path = str(Path(f"/proc/self/fd/{handle}").readlink())
        self._sync(handle)
        if self._active and path.startswith(self._root):
            self._record("sync", path)

    def _told(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active or getattr(self._inside, "yes", False):
            return
        if event == "open":
            path, _mode, flags = arguments
            creates = isinstance(flags, int) and flags & os.O_CREAT
            if creates and self._ours(path) and (flags & os.O_TRUNC or not Path(path).exists()):
                self._record("create", os.fspath(path))
        elif event == "os.mkdir" and self._ours(arguments[0]):
            self._record("create", os.fspath(arguments[0]))
        elif event == "os.rename" and self._ours(arguments[0]):
            self._record("rename", os.fspath(arguments[0]), os.fspath(arguments[1]))
        elif event == "os.link" and self._ours(arguments[1]):
            self._record("link", os.fspath(arguments[0]), os.fspath(arguments[1]))
        elif event in ("os.remove", "os.rmdir"):
            self._record("remove")

    def _ours(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._root)

    def _record(self, event: str, *paths: str) -> None:
        self._inside.yes = True
        try:
            with (self._journal / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                line = {"event": event, "paths": [os.path.relpath(path, self._root) for path in paths],
                        "tree": self._scan(), "database": self._database()}  # fmt: skip
                with (self._journal / "trace.jsonl").open("a") as trace:
                    trace.write(json.dumps(line) + "\n")
        finally:
            self._inside.yes = False

    def _scan(self) -> Tree:
        root = Path(self._root)
        tree: Tree = {".": (root.stat().st_ino, "d", "")}
        for path in root.rglob("*"):
            if not path.name.startswith(DATABASE):
                try:
                    content = "" if path.is_dir() else self._kept(path.read_bytes())
                    tree[str(path.relative_to(root))] = (path.stat().st_ino, "d" if path.is_dir() else "f", content)
                except FileNotFoundError:
                    continue  # another process was quicker
        return tree

    def _kept(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        place = self._journal / "contents" / name
        if not place.exists():
            place.write_bytes(content)
        return name

    def _database(self) -> str:
        found = Path(self._root) / DATABASE
        if not found.exists():
            return ""
        with tempfile.NamedTemporaryFile(dir=self._journal) as copy:
            source, target = sqlite3.connect(found), sqlite3.connect(copy.name)
            source.backup(target)
            source.close()
            target.close()
            return self._kept(Path(copy.name).read_bytes())


@dataclass
class Disk:
    """What is known to be on the disk for good, as a trace is read from its beginning."""

    files: dict[int, str] = field(default_factory=dict)  # inode -> contents that were synced
    folders: dict[int, dict[str, tuple[int, str]]] = field(default_factory=dict)  # inode -> synced names
    new: set[str] = field(default_factory=set)  # paths made since the record before

    def take(self, line: Mapping[str, Any]) -> None:
        tree: Tree = {path: tuple(told) for path, told in line["tree"].items()}
        if line["event"] == "begin" and not self.folders:
            for path, (inode, kind, content) in tree.items():
                if kind == "f":
                    self.files[inode] = content
                else:
                    self.folders[inode] = _names(tree, path)
        for path in [path for path in self.new if path in tree]:  # its inode may have been another's before
            self.files.pop(tree[path][0], None)
            self.folders.pop(tree[path][0], None)
            self.new.discard(path)
        if line["event"] == "create":
            self.new.add(line["paths"][0])
        elif line["event"] == "sync" and line["paths"][0] in tree:
            inode, kind, content = tree[line["paths"][0]]
            if kind == "f":
                self.files[inode] = content
            else:
                self.folders[inode] = _names(tree, line["paths"][0])


def _names(tree: Tree, folder: str) -> dict[str, tuple[int, str]]:
    lead = "" if folder == "." else f"{folder}/"
    inside = {path[len(lead) :]: told[:2] for path, told in tree.items() if path != "." and path.startswith(lead)}
    return {name: told for name, told in inside.items() if "/" not in name}


def read_trace(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (journal / "trace.jsonl").read_text().splitlines()]


Picture = dict[str, bytes | None]  # path -> contents, None: a directory


def worst_disks(journal: Path) -> Iterator[tuple[str, Picture, bytes]]:
    """For each record (label, tree, database): everything that was not synced is gone ("lost"), or all names are there
    but contents that were not synced are torn ("torn"). Pictures that were seen before are left out."""
    contents = journal / "contents"
    seen: set[str] = set()
    disk = Disk()
    for number, line in enumerate(read_trace(journal)):
        disk.take(line)
        for label, picture in (("lost", _lost(disk, line["tree"], contents)), ("torn", _torn(disk, line, contents))):
            told = hashlib.sha256(f"{line['database']}{sorted(picture.items(), key=str)}".encode()).hexdigest()
            if line["database"] and told not in seen:
                seen.add(told)
                yield f"{number}-{line['event']}-{label}", picture, (contents / line["database"]).read_bytes()


def _lost(disk: Disk, tree: Tree, contents: Path) -> Picture:
    made: Picture = {}

    def walk(inode: int, lead: str) -> None:
        for name, (child, kind) in disk.folders.get(inode, {}).items():
            if kind == "d":
                made[lead + name] = None
                walk(child, f"{lead}{name}/")
            else:
                made[lead + name] = (contents / disk.files[child]).read_bytes() if child in disk.files else b""

    walk(tree["."][0], "")
    return made


def _torn(disk: Disk, line: Mapping[str, Any], contents: Path) -> Picture:
    made: Picture = {}
    for path, (inode, kind, content) in sorted(line["tree"].items()):
        if kind == "d":
            made[path] = None
        elif disk.files.get(inode) == content:
            made[path] = (contents / content).read_bytes()
        else:
            was = (contents / disk.files[inode]).read_bytes() if inode in disk.files else b""
            made[path] = torn((contents / content).read_bytes(), was)
    return made


def torn(now: bytes, synced: bytes) -> bytes:
    """The first half of what was not synced has not arrived."""
    begin = len(synced) if now.startswith(synced) else max(0, len(now) - 4096)
    lost = (len(now) - begin + 1) // 2
    return now[:begin] + bytes(lost) + now[begin + lost :]


def build(picture: Picture, database: bytes, place: Path) -> None:
    """Put such a disk at `place`, as a machine finds it that starts again: its servers are not there any more."""
    place.mkdir(parents=True)
    for path, content in sorted(picture.items(), key=lambda item: item[0]):
        if content is None:
            (place / path).mkdir(exist_ok=True)
        else:
            (place / path).write_bytes(content)
    (place / DATABASE).write_bytes(database)
    with sqlite3.connect(place / DATABASE) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name='servers'").fetchone():
            connection.execute("UPDATE servers SET process='0/another boot'")
    connection.close()


def renames(journal: Path) -> Iterator[tuple[str, list[str], bool]]:
    """Of each rename and link to a name that counts (hidden ones do not): that path, what below it was not synced
    before, and whether the directory in which it got its name was synced after."""
    trace, disk = read_trace(journal), Disk()
    for number, line in enumerate(trace):
        disk.take(line)
        if line["event"] not in ("rename", "link") or any(part[0] == "." for part in Path(line["paths"][1]).parts):
            continue
        source, target = line["paths"]
        moved = {path: told for path, told in line["tree"].items() if path == source or path.startswith(f"{source}/")}
        unsynced = [path for path, (inode, kind, content) in moved.items() if kind == "f" and
                    disk.files.get(inode) != content]  # fmt: skip
        unsynced += [path for path, (inode, kind, _) in moved.items() if kind == "d" and
                     set(disk.folders.get(inode, {})) != set(_names(line["tree"], path))]  # fmt: skip
        folder = str(Path(target).parent)
        yield (
            target,
            unsynced,
            any(later["event"] == "sync" and later["paths"] == [folder] for later in trace[number + 1 :]),
        )
