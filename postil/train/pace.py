"""How fast a run goes against what its plan said: how much time is left, and how many updates fit into it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WRONG = 1.5  # times as slow or as fast: then the time left is said anew
LEAST_SECONDS = 60.0  # sooner or later: less is no news
FEWEST = 3  # updates, and seconds, of which a speed is the mean: others come and go within seconds
SECONDS = 30.0
SLACK = 0.05  # of the updates; to end by so few sooner is not worth a word
FEWEST_UPDATES = 16  # of a run, and rows: with fewer it would be for nothing
FEWEST_ROWS = 128
LONGER = 1.25  # times as many updates: then a run that was cut goes on longer after all


@dataclass(frozen=True, slots=True)
class Budget:
    """What the plan says of time, in seconds.

    update: of one update, 0 where it does not say; proof: of the answers after the training; limit: of the whole job,
    0 for none; spent: of that, before the loop began; fewest: updates that are made whatever the clock says.
    """

    update: float = 0.0
    proof: float = 0.0
    limit: float = 0.0
    spent: float = 0.0
    fewest: int = FEWEST_UPDATES


@dataclass(frozen=True, slots=True)
class News:
    """The speed has turned out wrong. Seconds that are left: by now, and by what was said before; updates that would
    still end by then."""

    left: float
    planned: float
    updates: int

    @property
    def slower(self) -> bool:
        return self.left > self.planned


class Pace:
    """Hears how long each update took."""

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._budget = budget
        self._expected = budget.update
        self._recent: deque[float] = deque()
        self._first = True

    @property
    def limit(self) -> float:
        """Seconds of the whole job; 0: none."""
        return self._budget.limit

    def hear(self, seconds: float) -> None:
        """Of one update. The first one of a process finds things out besides, and does not count."""
        if self._first:
            self._first = False
            return
        self._recent.append(seconds)
        while len(self._recent) > FEWEST and sum(self._recent) - self._recent[0] >= SECONDS:
            self._recent.popleft()

    def forget(self) -> None:
        """What was heard so far says nothing of what follows: other threads compute."""
        self._recent.clear()

    @property
    def update_seconds(self) -> float | None:
        """The mean of the last updates; None until there are enough."""
        enough = len(self._recent) >= FEWEST and sum(self._recent) >= SECONDS
        return sum(self._recent) / len(self._recent) if enough else None

    def news(self, done: int, total: int, extra: float = 0.0) -> News | None:
        """Whether a person must hear that the time left is another. extra: seconds of validations that are left."""
        now = self.update_seconds
        if now is None or not self._expected or self._expected / WRONG < now < self._expected * WRONG:
            return None
        planned = self._expected * (total - done) + self._budget.proof + extra
        fit = done + int(self._expected * (total - done) / now)
        left = now * (total - done) + self._proof(now) + extra
        if abs(left - planned) < LEAST_SECONDS:
            return None
        self._expected = now
        return News(left, planned, min(fit, total))

    def affordable(self, done: int, total: int, planned: int, seconds: float, extra: float = 0.0) -> int:
        """With how many updates in all, of those planned, the job ends within its limit; `total`, as it stands, where
        that does or nearly does, too.

        seconds: since the loop began; extra: of the validations that are left.
        """
        now = self.update_seconds
        if not self._budget.limit or now is None:
            return total
        left = self._budget.limit - self._budget.spent - seconds - self._proof(now) - extra
        updates = min(planned, max(done + max(0, int(left / now)), self._budget.fewest))
        return updates if updates < total * (1 - SLACK) or updates > total * LONGER else total

    def proof_share(self, seconds: float) -> float:
        """Of the test questions, for how many there is time after the training; 1 without a limit."""
        if not self._budget.limit or not self._budget.proof:
            return 1.0
        left = self._budget.limit - self._budget.spent - seconds
        return max(0.0, min(1.0, left / self._proof(self.update_seconds or self._expected)))

    def _proof(self, now: float) -> float:
        """The proof is as slow as the updates are."""
        return self._budget.proof * (max(1.0, now / self._budget.update) if self._budget.update else 1.0)
