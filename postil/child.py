"""Child processes and how long they may go on: so many seconds of computing, and ten times as long by the clock.

A busy machine makes everything slow, and nothing that is slow for that reason is at fault. So what counts is the time
for which a child computes; the clock only ends one that waits for ever.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import psutil

CLOCK = 10  # times as long by the clock as by computing
LOOK_SECONDS = 0.25  # between two looks at a child's time
GRACE_SECONDS = 2  # the system ends by itself what was not ended by us for so long


@dataclass(frozen=True)
class Limit:
    """Seconds for which a child may compute. threads: on how many cores at the same time it is expected to."""

    seconds: float
    threads: int = 1

    @property
    def cpu(self) -> float:
        return self.seconds * self.threads

    @property
    def wall(self) -> float:
        return self.seconds * CLOCK


class TookTooLong(Exception):
    """A child has come to its limit, by its `cpu` time or by the `wall`."""

    def __init__(self, by: Literal["cpu", "wall"], limit: Limit) -> None:
        self.by, self.seconds = by, limit.cpu if by == "cpu" else limit.wall
        super().__init__(f"{self.seconds:g} s of {by} time")


class Watch:
    """Looks at the time of a process that has just begun. Where the system can, it also ends the process by itself,
    unless `bound` says that the limit is for its beginning alone."""

    def __init__(
        self, process: subprocess.Popen[Any], limit: Limit, clock: Callable[[], float] = time.monotonic, *,
        bound: bool = True,
    ) -> None:  # fmt: skip
        self._process, self._limit, self._clock = process, limit, clock
        self._begun_at = clock()
        self._seen: psutil.Process | None = None
        with suppress(psutil.Error):
            self._seen = psutil.Process(process.pid)
        if bound:
            _limit_cpu(process.pid, limit.cpu)

    def look(self) -> None:
        """Raises TookTooLong when it has computed, or waited, for too long, or the system ended it for that."""
        if self._clock() - self._begun_at > self._limit.wall:
            raise TookTooLong("wall", self._limit)
        if self.computed() > self._limit.cpu or _ended_by_system(self._process):
            raise TookTooLong("cpu", self._limit)

    def computed(self) -> float:
        """Seconds for which it has computed so far, with the children that it has waited for; 0 once it has ended."""
        if self._seen is not None:
            with suppress(psutil.Error):
                return float(sum(self._seen.cpu_times()[:4]))
        return 0.0


def run(
    command: Sequence[str], limit: Limit, *, env: Mapping[str, str] | None, sent: bytes | None = None,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """Run a command to its end. env: None is this process's own; sent: its standard input.

    Raises TookTooLong, OSError when there is no such program.
    """
    stdin = subprocess.DEVNULL if sent is None else subprocess.PIPE
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        said, complained = communicate(process, limit, sent)
        return subprocess.CompletedProcess(command, process.returncode, said, complained)


def communicate(process: subprocess.Popen[Any], limit: Limit, sent: Any = None) -> tuple[Any, Any]:
    """What a process says to its end, as `Popen.communicate`. Raises TookTooLong, and ends it and what it started."""
    watch = Watch(process, limit)
    try:
        while True:
            try:
                answer = process.communicate(sent, timeout=LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                sent = None  # it is on its way
                watch.look()
        if _ended_by_system(process):
            raise TookTooLong("cpu", limit)
        return answer
    except BaseException:
        end(process)
        raise


def end(process: subprocess.Popen[Any]) -> None:
    """End a process at once, and what it has started."""
    family: list[Any] = []
    with suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    for one in (process, *family):
        with suppress(psutil.Error, OSError):
            one.kill()
    process.wait()


def _limit_cpu(pid: int, seconds: float) -> None:
    """Linux alone lets another process's limits be set; elsewhere `look` sees to it."""
    if sys.platform == "linux":
        import resource

        soft = int(seconds) + 1 + GRACE_SECONDS
        with suppress(OSError, ValueError):  # it has ended, or has a lower limit already
            resource.prlimit(pid, resource.RLIMIT_CPU, (soft, soft + GRACE_SECONDS))


def _ended_by_system(process: subprocess.Popen[Any]) -> bool:
    return sys.platform != "win32" and process.poll() == -signal.SIGXCPU
