"""How much a key may do in a minute and in a day. Counted in this process, so that nothing is written per request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from postil.api.refusals import refused


class Paced(Protocol):
    """What a key says of itself; None: no bound."""

    @property
    def id(self) -> str: ...
    @property
    def requests_per_minute(self) -> int | None: ...
    @property
    def tokens_per_day(self) -> int | None: ...


class Paces:
    """A bucket of requests for each key, which fills again evenly, and the tokens of the present day."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, day: Callable[[], int] | None = None) -> None:
        self._clock = clock
        self._day = day or (lambda: int(time.time() // 86_400))
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}  # key -> (requests left, when that was so)
        self._tokens: dict[str, tuple[int, int]] = {}  # key -> (day, tokens)

    def count_request(self, key: Paced) -> None:
        """Raises Refused `rate_limit_exceeded`."""
        most = key.requests_per_minute
        if most is None:
            return
        with self._lock:
            now = self._clock()
            left, then = self._buckets.get(key.id, (float(most), now))
            left = min(float(most), left + (now - then) * most / 60)
            self._buckets[key.id] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            raise refused("rate_limit_exceeded", most=most)

    def check_tokens(self, key: Paced) -> None:
        """Raises Refused `insufficient_quota` when the day's tokens are used up."""
        most = key.tokens_per_day
        if most is None:
            return
        with self._lock:
            day, used = self._tokens.get(key.id, (self._day(), 0))
        if day == self._day() and used >= most:
            raise refused("insufficient_quota", most=most)

    def count_tokens(self, key: Paced, tokens: int) -> None:
        if key.tokens_per_day is None:
            return
        with self._lock:
            day, used = self._tokens.get(key.id, (self._day(), 0))
            self._tokens[key.id] = (self._day(), (used if day == self._day() else 0) + tokens)
