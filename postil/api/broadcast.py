"""What is new in the jobs that are listened to: read once for all who listen, however many they are.

Nothing waits in a queue for a listener. What was read last lies here for a while; whoever is further behind than that
reads for itself, in its project's turn.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from postil.api.lanes import Lanes
from postil.api.refusals import Refused
from postil.errors import JobError, PostilError

if TYPE_CHECKING:
    from postil.store.tables import Job, JobEvent

LOOK_SECONDS = 0.5  # how old what is told may be
LISTENED_SECONDS = 5.0  # so long after the last question a job is looked at along with others
KEPT_EVENTS = 200  # of a job, for those who listen


class Reads(Protocol):
    """The queue, as far as it is needed here."""

    def news(self, after: Mapping[str, int]) -> dict[str, tuple[Job, Sequence[JobEvent]]]: ...
    def events_since(self, project: str, job_id: str, number: int) -> tuple[Job, Sequence[JobEvent]]: ...


@dataclass
class Track:
    """A job as it was read last, and its last events."""

    heard_at: float
    listeners: int = 0  # who wait for it just now
    job: Job | None = None
    events: list[JobEvent] = field(default_factory=list)
    since: int = 0  # the number of the last event that does not lie here

    def take(self, job: Job, events: Sequence[JobEvent]) -> None:
        if self.job is None:
            self.since = events[0].number - 1 if events else job.events
        self.job = job
        self.events += events
        if len(self.events) > KEPT_EVENTS:
            self.since = self.events[-KEPT_EVENTS - 1].number
            del self.events[:-KEPT_EVENTS]

    @property
    def last(self) -> int:
        return self.events[-1].number if self.events else self.since

    def after(self, number: int) -> list[JobEvent]:
        return self.events[bisect_right(self.events, number, key=lambda event: event.number) :]


class Broadcast:
    """All of it is called on the server's loop."""

    def __init__(self, queue: Reads, lanes: Lanes, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue, self._lanes, self._clock = queue, lanes, clock
        self._tracks: dict[str, Track] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def news(
        self, project: str, job_id: str, seen: int, *, fresh: bool = False
    ) -> tuple[Job, Sequence[JobEvent]]:  # fmt: skip
        """The job, and its events after the number `seen`, oldest first; at most LOOK_SECONDS old.

        fresh: read it now, for whoever has just changed it. Raises JobError `job_not_found`.
        """
        now = self._clock()
        track = self._tracks.setdefault(job_id, Track(now))
        track.heard_at = now
        if fresh or track.job is None or now - self._read_at >= LOOK_SECONDS:
            track.listeners += 1
            try:
                await self._read(again=fresh or track.job is None)
            except (PostilError, Refused):
                if track.job is None:
                    raise  # else what was read last holds, until a database that is away comes back
            finally:
                track.listeners -= 1
                track.heard_at = self._clock()
        if track.job is None or track.job.project != project:
            raise JobError("job_not_found", job=job_id[:80])
        if seen >= track.since:
            return track.job, track.after(seen)
        _, events = await self._lanes.run("reads", project, self._queue.events_since, project, job_id, seen)
        return track.job, events

    async def _read(self, *, again: bool) -> None:
        """Read, or wait for a reading that is under way; `again`: for one that begins now."""
        if again and self._reading is not None:
            await asyncio.wait([self._reading])
        if self._reading is None:
            self._reading = asyncio.create_task(self._look())
        await asyncio.shield(self._reading)

    async def _look(self) -> None:
        try:
            oldest = self._clock() - LISTENED_SECONDS
            self._tracks = {
                name: track for name, track in self._tracks.items() if track.listeners or track.heard_at >= oldest
            }
            tracks = dict(self._tracks)
            after = {name: track.last if track.job else -1 for name, track in tracks.items()}
            news = await self._lanes.run("reads", "broadcast", self._queue.news, after)
            for name, track in tracks.items():
                if name in news:
                    track.take(*news[name])
                else:  # it was deleted
                    track.job = None
                    self._tracks.pop(name, None)
            self._read_at = self._clock()
        finally:
            self._reading = None
