"""How many threads compute: measured again, on real updates, when others come to the machine or leave it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

FEWEST = 3  # updates, and seconds, by which a number of threads is judged
SECONDS = 10.0
LOOK_SECONDS = 20.0
ALONE, CROWDED = 0.25, 0.75  # cores that others use; between them nothing has changed
BETTER = 0.95  # of the time for a token, for which other threads are worth it


class Others(Protocol):
    """See `model/neighbours.py`."""

    def cores(self) -> float: ...


class Crew:
    """Decides after an update with how many threads to go on. What it tries is trained on like all else."""

    def __init__(self, threads: int, cores: int, others: Others, clock: Callable[[], float] = time.monotonic) -> None:
        self.threads, self._cores, self._others, self._clock = threads, cores, others, clock
        self._looked = clock()
        self._alone: bool | None = None  # when the threads were chosen; None: not known
        self._wanted: int | None = None  # to be tried, once it is known how fast the present ones are by now
        self._before: tuple[int, float] | None = None  # while it tries: the threads until then, and their speed
        self._tokens, self._seconds, self._updates = 0, 0.0, 0

    def hear(self, tokens: int, seconds: float) -> int | None:
        """Of an update. Returns the number of threads for the next ones where it is to be another."""
        self._tokens += tokens
        self._seconds += seconds
        self._updates += 1
        if self._updates < FEWEST or self._seconds < SECONDS:
            return None
        if self._before is not None:
            return self._judge()
        if self._wanted is not None:
            self._before, wanted = (self.threads, self._speed()), self._wanted
            self._wanted = None
            return wanted
        if self._clock() - self._looked >= LOOK_SECONDS:
            self._look()
        return None

    def is_trying(self) -> bool:
        return self._before is not None

    def turn_to(self, threads: int) -> None:
        """Others compute from here on."""
        self.threads = threads
        self._begin()

    def _begin(self) -> None:
        """What was heard so far says nothing of what follows."""
        self._tokens, self._seconds, self._updates = 0, 0.0, 0

    def _speed(self) -> float:
        """Seconds for a token."""
        return self._seconds / max(1, self._tokens)

    def _judge(self) -> int | None:
        assert self._before is not None
        threads, speed = self._before
        self._before = None
        self._looked = self._clock()
        self._others.cores()  # from here on they are looked at anew
        return threads if self._speed() > BETTER * speed else None

    def _look(self) -> None:
        """Want other threads when the machine is no longer what it was when these were chosen."""
        self._looked, busy = self._clock(), self._others.cores()
        alone = busy < ALONE if not ALONE <= busy <= CROWDED else self._alone
        changed, self._alone = alone is not None and alone is not self._alone, alone
        wanted = self._cores if alone else max(1, min(self.threads, self._cores - round(busy)))
        if changed and wanted != self.threads:
            self._wanted = wanted
            self._begin()
