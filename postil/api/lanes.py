"""Classes of work, and who may do how much of each at once: what one project waits for takes no place of another's.

A place in a lane is the right to do one piece of such work. Nobody holds more than their part of a lane, so that there
is always one left for somebody else; those who wait go in their own order, and projects take turns. Where a line is
full, or did not move for long, the answer is 429 with `retry-after`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import IO, Any, Literal, TypeVar, get_args

from starlette.concurrency import run_in_threadpool

from postil.api.refusals import Refused, refused
from postil.locales import say

T = TypeVar("T")
Name = Literal["keys", "reads", "writes", "files", "looks", "commands", "engines", "answers", "streams", "sockets",
               "addresses"]  # fmt: skip
SPARE_THREADS = 40  # for what the framework does on threads of its own accord
PIECE = 1 << 20
COMMANDS = max(3, os.cpu_count() or 1)


@dataclass(frozen=True)
class Lane:
    """Places: all of them, those of one holder, and how many of a holder may wait for one, for how many seconds.

    threads: whether whoever has a place also has a thread of the server's.
    """

    places: int
    each: int
    waiting: int
    seconds: float
    threads: bool = True


LANES: Mapping[Name, Lane] = {
    "keys": Lane(8, 8, 2000, 30),  # who is it? One short look, before anybody knows whose request it is
    "reads": Lane(16, 6, 1000, 60),
    "writes": Lane(8, 4, 500, 60),  # SQLite lets one write at a time
    "files": Lane(12, 4, 200, 120),  # whole files on the disk
    "looks": Lane(24, 8, 64, 120),  # a file is looked at by a command, which is waited for
    "commands": Lane(COMMANDS, max(2, COMMANDS // 2), 64, 120, threads=False),  # child processes
    "engines": Lane(16, 4, 256, 300),  # something is asked of an engine, which may have to start first
    "answers": Lane(256, 160, 512, 600, threads=False),  # fewer than an engine lets wait: it is never full
    "streams": Lane(1000, 100, 0, 0, threads=False),  # of one key
    "sockets": Lane(1000, 250, 0, 0, threads=False),  # pages that are open, of one key or rater
    "addresses": Lane(2000, 500, 0, 0, threads=False),  # both of them, of one address
}
_holder: ContextVar[str] = ContextVar("holder", default="")


def holder() -> str:
    """Whose work this thread or task does: a project, a rater, an address; empty for the server's own."""
    return _holder.get()


@contextmanager
def on_behalf_of(who: str) -> Iterator[None]:
    """Work that begins here is somebody's."""
    before = _holder.set(who)
    try:
        yield
    finally:
        _holder.reset(before)


def lane(name: Name) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """The decorator that says to which class of work a function belongs that runs on a thread."""
    assert name in get_args(Name)

    def mark(work: Callable[..., T]) -> Callable[..., T]:
        work.lane = name  # type: ignore[attr-defined]  # read by `lane_of`
        return work

    return mark


def lane_of(work: Callable[..., Any], otherwise: Name) -> Name:
    """The class of work that a function was marked with."""
    name: Name = getattr(work, "lane", otherwise)
    return name


@dataclass(eq=False)
class Ticket:
    """A place that somebody has or waits for. weight: how many places it takes."""

    holder: str
    weight: int
    turn: Future[None] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.turn.set_running_or_notify_cancel()  # who stops waiting says so to the line, not to the future


class Line:
    """Who has a place in a lane and who waits for one. Threads share it."""

    def __init__(self, bounds: Lane) -> None:
        self.bounds = bounds
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[Ticket]] = OrderedDict()  # whose turn it is comes first

    def ask(self, holder: str, weight: int = 1) -> Ticket | None:
        """A place, now or when it is their turn; None where too many of the same holder wait already."""
        ticket = Ticket(holder, min(weight, self.bounds.each))
        with self._lock:
            self._waiting.setdefault(holder, deque()).append(ticket)
            tickets = self._grant()
            if ticket not in tickets and len(self._waiting[holder]) > self.bounds.waiting:
                self._forget(ticket)
                return None
        _call(tickets)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give a place back, or wait for it no longer."""
        with self._lock:
            if not self._forget(ticket):
                self._held[ticket.holder] -= ticket.weight
                self._held += Counter()  # without those who hold nothing
            tickets = self._grant()
        _call(tickets)

    def _forget(self, ticket: Ticket) -> bool:
        """Whether it was still waiting."""
        queue = self._waiting.get(ticket.holder, deque())
        if ticket not in queue:
            return False
        queue.remove(ticket)
        if not queue:
            del self._waiting[ticket.holder]
        return True

    def _grant(self) -> list[Ticket]:
        """Give what is free to those whose turn it is."""
        tickets: list[Ticket] = []
        while (ticket := self._first()) is not None:
            self._forget(ticket)
            if ticket.holder in self._waiting:
                self._waiting.move_to_end(ticket.holder)
            self._held[ticket.holder] += ticket.weight
            tickets.append(ticket)
        return tickets

    def _first(self) -> Ticket | None:
        """The next who can have a place. Where there is too little room for it, nobody smaller overtakes it."""
        for queue in self._waiting.values():
            ticket = queue[0]
            if self._held[ticket.holder] + ticket.weight <= self.bounds.each:
                return ticket if self._held.total() + ticket.weight <= self.bounds.places else None
        return None


def _call(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        ticket.turn.set_result(None)


class Lanes:
    """A line for each class of work."""

    def __init__(self, lanes: Mapping[Name, Lane] = LANES) -> None:
        self._lines = {name: Line(bounds) for name, bounds in lanes.items()}

    @property
    def threads(self) -> int:
        """How many threads there must be, so that whoever has a place also has a thread."""
        return SPARE_THREADS + sum(line.bounds.places for line in self._lines.values() if line.bounds.threads)

    @asynccontextmanager
    async def place(self, name: Name, of: str, weight: int = 1) -> AsyncIterator[None]:
        """Wait for a place and have it. Raises Refused `too_busy`, for what nobody waits for `too_many_open`."""
        line = self._lines[name]
        ticket = self._ticket(name, of, weight)
        try:
            if not ticket.turn.done():
                try:
                    await asyncio.wait_for(asyncio.wrap_future(ticket.turn), line.bounds.seconds)
                except TimeoutError:
                    raise _refusal("too_busy", name, line.bounds) from None
            yield
        finally:
            line.leave(ticket)

    @contextmanager
    def place_here(self, name: Name, of: str) -> Iterator[None]:
        """The same for whoever is on a thread already."""
        line = self._lines[name]
        ticket = self._ticket(name, of, 1)
        try:
            try:
                ticket.turn.result(line.bounds.seconds)
            except TimeoutError:
                raise _refusal("too_busy", name, line.bounds) from None
            yield
        finally:
            line.leave(ticket)

    async def run(self, name: Name, of: str, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Do `work` on a thread, in its turn."""
        async with self.place(name, of):
            with on_behalf_of(of):
                return await run_in_threadpool(work, *arguments, **named)

    async def pieces(self, of: str, opened: IO[bytes]) -> AsyncIterator[bytes]:
        """An open file in pieces; each is read in its turn, and the file is closed at the end."""
        with opened:
            while piece := await self.run("files", of, opened.read, PIECE):
                yield piece

    def _ticket(self, name: Name, of: str, weight: int) -> Ticket:
        line = self._lines[name]
        ticket = line.ask(of, weight)
        if ticket is None:
            raise _refusal("too_busy" if line.bounds.waiting else "too_many_open", name, line.bounds)
        return ticket


def _refusal(code: str, name: Name, bounds: Lane) -> Refused:
    return refused(code, what=say(f"lane.{name}"), most=bounds.each)
