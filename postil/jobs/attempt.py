"""The directory of an attempt: all that a worker writes, and the one file by which the server speaks to it.

spec.json      what is to be done                       log.txt        what the process printed
events.jsonl   what happened, each line synced          beat           a number that grows while it lives
outcome.json   how it ended, written last               run/           flow's: plan, data, checkpoints, adapter
fence          from the server: the attempt that counts, and what is wished of it
process.json   from the executor
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil.paths import all_by_name
from postil.store import in_our_words, read_json, write_json

if TYPE_CHECKING:
    from postil.records import Event

EVENTS, BEAT, OUTCOME, FENCE, SPEC, RUN = "events.jsonl", "beat", "outcome.json", "fence", "spec.json", "run"
FENCED = 76  # exit code: another attempt counts, or somebody else works in this directory
STORAGE_FULL = 75  # exit code, where not even the outcome could be written
BEAT_SECONDS = 1.0
PATIENCE_SECONDS = 1.0  # of a worker that is asked to stop where it cannot look at the wish; updates are waited for


def place(root: Path, job_id: str, attempt: int) -> Path:
    """The directory of an attempt below the store's."""
    return root / "jobs" / job_id / f"attempt-{attempt}"


def fence(directory: Path, attempt: int, wish: str | None = None) -> None:
    """Say which attempt counts, and what is wished of it: pause, keep."""
    if directory.exists():
        write_json(directory / FENCE, {"attempt": attempt, "wish": wish})


def read_outcome(directory: Path) -> dict[str, Any] | None:
    """How it ended, None when it did not say."""
    try:
        told: dict[str, Any] = read_json(directory / OUTCOME)
    except (OSError, ValueError):
        return None
    return told


def read_events(directory: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """The whole lines from byte `start` on, and where the next one begins. What a power cut has torn is left out."""
    try:
        with (directory / EVENTS).open("rb") as file:
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return [], start
    end = data.rfind(b"\n") + 1
    return [line for line in map(_event, data[:end].split(b"\n")) if line is not None], start + end


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) and "type" in told else None


def read_beat(directory: Path) -> str:
    """What the worker last wrote; any change means that it lives."""
    try:
        return (directory / BEAT).read_text("ascii")
    except (OSError, ValueError):
        return ""


class Desk:
    """The worker's side: tells events, beats, hears what is wished, and writes the outcome once."""

    def __init__(self, directory: Path, attempt: int, wish: str | None) -> None:
        """Takes the directory for this process alone; ends it when another has taken it."""
        self.directory, self._attempt = directory, attempt
        self.wish = wish  # pause | keep | stop
        self.trains = False  # whether updates are being made, which look at the wish after each
        self._wished_at: float | None = None
        self._lock = threading.Lock()
        try:
            os.close(os.open(directory / "taken", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            os._exit(FENCED)
        (directory / BEAT).write_text(f"{0:020d}", "ascii")
        self._events = (directory / EVENTS).open("ab")

    def start(self) -> None:
        """Begin to beat and to listen."""
        signal.signal(signal.SIGTERM, lambda number, frame: self._wished("stop"))
        if hasattr(signal, "SIGCONT"):  # after a sleep the world may have gone on: look before anything is written
            signal.signal(signal.SIGCONT, lambda number, frame: self._listen())
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def emit(self, event: Event) -> None:
        """Tell an event: on the disk before anything that comes after it."""
        if event.type == "stage":
            self.trains = event.data.get("stage") == "train"
        elif event.type == "metrics":
            self.trains = True
        line = json.dumps({**all_by_name(event.as_json()), "at": int(time.time())}, ensure_ascii=False, default=str)
        with in_our_words():
            self._events.write(line.encode("utf-8") + b"\n")
            self._events.flush()
            os.fsync(self._events.fileno())

    def stops(self) -> bool:
        """Whether the run is to stop after the present update."""
        return self.wish is not None

    def end(self, outcome: str, **told: Any) -> None:
        """Write how it ended, unless that was said already."""
        with self._lock:
            if not (self.directory / OUTCOME).exists():
                write_json(self.directory / OUTCOME, {"outcome": outcome, **all_by_name(told)})

    def _wished(self, wish: str) -> None:
        if self.wish is None or (self.wish != wish and wish == "stop"):
            self.wish = wish
        self._wished_at = self._wished_at or time.monotonic()

    def _beat(self) -> None:
        count = 0
        while True:
            count += 1
            with suppress(OSError), (self.directory / BEAT).open("r+", encoding="ascii") as file:
                file.write(f"{count:020d}")  # in place: needs no room; a disk that fails is told elsewhere
            self._listen()
            time.sleep(BEAT_SECONDS)

    def _listen(self) -> None:
        try:
            told: Mapping[str, Any] = read_json(self.directory / FENCE)
        except (OSError, ValueError):
            if not self.directory.exists():  # tidied away: the job is over
                end_group()
            told = {"attempt": self._attempt}
        if told["attempt"] != self._attempt:
            end_group()
        if told.get("wish") and self._wished_at is None:
            self._wished(told["wish"])
        elif told.get("wish") is None and self.wish == "pause" and "wish" in told:
            self.wish, self._wished_at = None, None  # resumed before it had stopped
        waited = time.monotonic() - self._wished_at if self._wished_at is not None else 0.0
        if self.wish in ("pause", "stop") and not self.trains and waited > PATIENCE_SECONDS:
            self.end("paused" if self.wish == "pause" else "stopped")
            end_group()


def end_group() -> None:
    """End this process at once with all that it started, if it leads a group of its own."""
    if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(FENCED)
