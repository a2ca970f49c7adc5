"""How much of this machine others use while we work: a run computes best with all cores when it is alone."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

IDLE = ("idle", "iowait")  # of the times that the system counts for its cores
TWICE = ("guest", "guest_nice")  # these stand in `user` and `nice` already


class Neighbours:
    """Looks at what the cores have done since it looked last. Programs on the same host count, in a container too."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at, self._busy, self._own = clock(), _busy_seconds(), _own_seconds()

    def cores(self) -> float:
        """How many cores all other programs have used, on average, since the last call."""
        at, busy, own = self._clock(), _busy_seconds(), _own_seconds()
        seconds = max(at - self._at, 1e-3)
        others = (busy - self._busy - (own - self._own)) / seconds
        self._at, self._busy, self._own = at, busy, own
        return max(0.0, others)


def _busy_seconds() -> float:
    """Of all cores, since the system began."""
    times = psutil.cpu_times()._asdict()
    return float(sum(seconds for name, seconds in times.items() if name not in (*IDLE, *TWICE)))


def _own_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
