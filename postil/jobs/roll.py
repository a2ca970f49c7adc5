"""Who looks after jobs: the servers of one database, each under a random name with a number that it counts up.

A server is gone when its process is proven to be, in this very table of processes, or when its number has not changed
for half a minute of our own clock, in which we could look all the time: while the database is away nobody beats. One
that only seemed gone (it was frozen, say) finds its jobs under another's name when it comes back, and leaves them
alone: every write asks for the name.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable

from postil.jobs import processes
from postil.jobs.lease import Lease


class Roll:
    """The roll of servers as one of them sees it. `silence`: seconds without a beat after which one is gone."""

    def __init__(self, lease: Lease, silence: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease, self._silence, self._clock = lease, silence, clock
        self._process, self._namespace = processes.identity(os.getpid()), processes.table()
        self._beats: dict[str, tuple[int, float]] = {}  # of others: their number, and since when it is that
        self._looked_at = clock()
        self.has_neighbours = False  # others that start processes on this machine

    def beat(self) -> None:
        """Say that this server lives."""
        self._lease.beat(platform.node(), self._process, self._namespace)

    def gone(self) -> list[str]:
        """Beat, and say which servers are gone: by proof, by silence, or because nobody knows them any more."""
        self.beat()
        others = [row for row in self._lease.servers() if row.id != self._lease.server]
        now = self._clock()
        if now - self._looked_at > self._silence / 2:
            self._beats = {}
        self._looked_at = now
        for row in others:
            number, since = self._beats.get(row.id, (row.beat, now))
            self._beats[row.id] = (row.beat, since if number == row.beat else now)
        near = [row for row in others if row.namespace and row.namespace == self._namespace]
        over = {row.id for row in others if now - self._beats[row.id][1] > self._silence}
        over |= {row.id for row in near if not processes.lives(row.process)}
        self._beats = {row.id: self._beats[row.id] for row in others if row.id not in over}
        self.has_neighbours = any(row.id in self._beats for row in near)
        return [*over, *self._lease.orphans()]
