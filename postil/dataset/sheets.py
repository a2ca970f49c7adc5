"""Workbooks and Parquet files, opened in a child process that a hostile file may kill and that may kill nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from postil.child import Limit, TookTooLong, Watch
from postil.dataset import limits
from postil.dataset.raw import Findings, Record, Row, Sheet
from postil.errors import FileError

_PACKAGE = Path(__file__).parents[2]  # the directory that holds the package `postil`

_NO_WINDOW = 0x0800_0000 if sys.platform == "win32" else 0  # subprocess.CREATE_NO_WINDOW


@dataclass
class Opened:
    """What a workbook or a Parquet file holds."""

    sheets: list[Sheet] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)  # of the sheet that is being told

    def finish_sheet(self) -> None:
        if self.rows:
            self.sheets[-1] = replace(self.sheets[-1], rows=tuple(self.rows))
        self.rows = []


def open_file(path: Path, kind: str, found: Findings) -> Opened:
    """The sheets of a workbook, or the records of a Parquet file (`kind`: xlsx xlsm xlsb ods xls html xml parquet).

    Raises FileError: `file_bomb`, `file_broken`, `file_encrypted`, `workbook_unsafe`, `cell_far_away`, ...
    """
    if kind in ("xlsx", "xlsm", "xlsb", "ods"):
        _look_inside(path)
    opened = Opened()
    ended = False
    with _Child(path, kind) as child:
        for what, *rest in child.messages():
            if what == "error":
                raise FileError(rest[0], rows=rest[2], **rest[1])
            ended |= what == "end"
            _take(opened, found, what, rest)
    if not ended:
        raise FileError(child.verdict())
    opened.finish_sheet()
    return opened


def _take(opened: Opened, found: Findings, what: str, rest: list[Any]) -> None:
    if what == "sheet":
        opened.finish_sheet()
        name, hidden, active, merged = rest
        opened.sheets.append(Sheet(name, (), hidden, active, tuple(tuple(each) for each in merged)))
    elif what == "rows":
        opened.rows += [Row(number, tuple(cells)) for number, cells in rest[0]]
    elif what == "record":
        opened.records.append(Record(*rest))
    elif what == "issue":
        code, severity, row, cell, values = rest
        found.issue(code, severity, row, cell, **values)
    elif what == "repair":
        code, row, before, after, cell, values = rest
        found.repair(code, row, before, after, cell, **values)


def _look_inside(path: Path) -> None:
    """Judge a zip by its directory, before anything is unpacked."""
    try:
        with zipfile.ZipFile(path) as parts:
            members = parts.infolist()
    except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError):
        raise FileError("file_truncated") from None
    unpacked = sum(member.file_size for member in members)
    if len(members) > limits.MAX_MEMBERS or unpacked > limits.MAX_UNPACKED:
        raise FileError("file_bomb")
    for member in members:
        dense = member.file_size > limits.MAX_RATIO * max(1, member.compress_size)
        if dense and member.file_size > limits.SMALL_UNPACKED:
            raise FileError("file_bomb")
        if member.flag_bits & 1:
            raise FileError("file_encrypted")


class _Child:
    """The child process, with a watch on its time and memory."""

    def __init__(self, path: Path, kind: str) -> None:
        self.memory = _memory_for(path)
        self.most_told = limits.MAX_TOLD + limits.MAX_TOLD_PER_BYTE * path.stat().st_size
        limit = Limit(limits.CHILD_SECONDS + limits.CHILD_SECONDS_PER_MB * path.stat().st_size / limits.MB)
        spare = 4 * 1024 * limits.MB if kind == "parquet" else 256 * limits.MB  # address space that is never touched
        program = [sys.executable, "-m", "postil.dataset.opener", kind, str(path.absolute()), str(self.memory + spare)]
        self.process = subprocess.Popen(
            program, cwd=_PACKAGE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            creationflags=_NO_WINDOW,
        )  # fmt: skip
        self.time = Watch(self.process, limit)
        self.why = ""
        self.watch = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Child:
        self.watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        if self.process.stdout:
            self.process.stdout.close()
        self.process.wait()
        self.watch.join()

    def messages(self) -> Iterator[list[Any]]:
        assert self.process.stdout is not None
        told = 0
        for line in self.process.stdout:
            told += len(line)
            if told > self.most_told:
                raise FileError("file_bomb")
            if not line.endswith(b"\n"):
                return  # the child died in the middle of a word
            yield json.loads(line)
        self.process.wait()

    def verdict(self) -> str:
        """Why the child ended without an answer: what the watch saw, else that the system stopped it."""
        return self.why or "file_needs_memory"

    def _watch(self) -> None:
        import psutil

        try:
            watched = psutil.Process(self.process.pid)
            while self.process.poll() is None:
                self.time.look()
                if watched.memory_info().rss > self.memory:
                    self.why = "file_needs_memory"
                    break
                time.sleep(0.02)
        except TookTooLong:
            self.why = "file_takes_too_long"
        except psutil.Error:
            return  # it has ended
        if self.why:
            self.process.kill()


def _memory_for(path: Path) -> int:
    wanted = limits.CHILD_BYTES + limits.CHILD_BYTES_PER_BYTE * path.stat().st_size
    return min(wanted, limits.CHILD_MOST_BYTES)
