"""The answers to one request, under way together, without a thread that waits for them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from postil.api.booking import Booking
from postil.api.lanes import Lanes
from postil.api.refusals import refused
from postil.serve import Piece, Reply, Running
from postil.serve import Request as Question

PING_SECONDS = 15


@dataclass(frozen=True)
class Heard:
    """A piece of one of the answers, or its end."""

    index: int
    piece: Piece | None = None
    ended: Running | None = None


class Choir:
    """The answers to one request, under way together and paid for; what they say comes in one row."""

    def __init__(self, booking: Booking, lanes: Lanes) -> None:
        self.booking, self._lanes = booking, lanes
        self._running: list[Running] = []
        self._row: asyncio.Queue[Heard] = asyncio.Queue()
        self._gone: asyncio.Task[None] | None = None
        self._stopped = False
        self.first: Heard | None = None

    async def start(self, request: Request | None = None) -> None:
        """Begin, and wait for the first word, but no longer than until a ping is due.

        request: whose client ends it all by leaving. Raises what the engine refuses, and Refused `client_gone`.
        """
        self._gone = asyncio.create_task(_left(request)) if request else None
        project = self.booking.wanted[0].project
        await self._lanes.run("engines", project, self._begin, asyncio.get_running_loop())
        self.first = await self.next()
        if self.first and self.first.ended:
            self.first.ended.result()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        def put(heard: Heard) -> None:
            with suppress(RuntimeError):  # the loop has closed: the server is going
                loop.call_soon_threadsafe(self._row.put_nowait, heard)

        def begin(index: int, question: Question) -> Running:
            return self.booking.start(
                question, lambda piece: put(Heard(index, piece=piece)), lambda ended: put(Heard(index, ended=ended))
            )

        for i, question in enumerate(self.booking.wanted):
            running = begin(i, question)
            self._running.append(running)
            if self._stopped:  # nobody listens any more, while the engine was still being started
                running.cancel()
                return

    async def next(self) -> Heard | None:
        """What is heard next; None when nothing was for a while."""
        waiting = asyncio.create_task(self._row.get())
        watched: set[asyncio.Task[Any]] = {waiting} if self._gone is None else {waiting, self._gone}
        try:
            await asyncio.wait(watched, timeout=PING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
        finally:
            waiting.cancel()
        if self._gone is not None and self._gone.done():
            raise refused("client_gone")
        return None

    async def replies(self) -> list[Reply]:
        """The whole answers. Raises what ended one of them, and Refused `client_gone`."""
        left = len(self.booking.wanted)
        heard = self.first
        while True:
            left -= bool(heard and heard.ended)
            if not left:
                break
            heard = await self.next()
        self.stop()
        return [running.result() for running in self._running]

    def stop(self) -> None:
        """Nobody listens any more. Any number of times."""
        self._stopped = True
        for running in self._running:
            running.cancel()
        self.booking.close()
        if self._gone is not None:
            self._gone.cancel()

    def let_go(self) -> None:
        """From here on somebody else notices when the client leaves."""
        if self._gone is not None:
            self._gone.cancel()
            self._gone = None


async def whole(booking: Booking, lanes: Lanes, request: Request | None = None) -> list[Reply]:
    """The whole answers, made to their end even when the client leaves, unless its `request` is given."""
    choir = Choir(booking, lanes)
    try:
        await choir.start(request)
        replies = await choir.replies()
        await booking.settled()
        return replies
    except BaseException:  # whatever it was, nobody hears what would still come
        choir.stop()
        raise


async def _left(request: Request) -> None:
    """Ends when the client is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
