"""How many requests a key may send in a minute: buckets that fill again evenly.

They are counted in this process. A limit of requests protects a server from load, not a purse: a restart gives one
full bucket more, once, and a second server carries its own load; a write for each request would cost more than most
requests. What a purse pays for, tokens, is counted in the database (store/tokens.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from postil.api.refusals import refused

MOST_BUCKETS = 10_000


class Limited(Protocol):
    """A key with all limits that bind it: its own, and those of the keys that it was made with (see Key.limits)."""

    @property
    def limits(self) -> Sequence[Mapping[str, Any]]: ...


class RateLimits:
    """A bucket for each name; a request takes one from every bucket that it draws on, or from none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}  # name -> (requests left, when that was so)

    def count_request(self, key: Limited) -> None:
        """Raises Refused `rate_limit_exceeded`."""
        limits = {str(one["key"]): one["requests_per_minute"] for one in key.limits}
        full = self.take({name: int(most) for name, most in limits.items() if most is not None})
        if full is not None:
            raise refused("rate_limit_exceeded", most=full)

    def take(self, limits: Mapping[str, int]) -> int | None:
        """Take one from each of these buckets (name -> how many it holds and gains in a minute).

        None when all had one; else nothing is taken, and the limit of one that is empty is returned.
        """
        if not limits:
            return None
        with self._lock:
            now = self._clock()
            left = {name: self._left(name, most, now) for name, most in limits.items()}
            empty = next((most for name, most in limits.items() if left[name] < 1), None)
            for name, there in left.items():
                self._buckets[name] = (there - (empty is None), now)
            self._forget()
        return empty

    def give(self, limits: Mapping[str, int]) -> None:
        """Give back to these buckets what was taken."""
        with self._lock:
            now = self._clock()
            for name, most in limits.items():
                self._buckets[name] = (min(float(most), self._left(name, most, now) + 1), now)

    def _left(self, name: str, most: int, now: float) -> float:
        left, then = self._buckets.pop(name, (float(most), now))  # and so it comes to the end of the row
        return min(float(most), left + (now - then) * most / 60)

    def _forget(self) -> None:
        """The bucket that was used the longest ago is full again by now, or nearly."""
        while len(self._buckets) > MOST_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
