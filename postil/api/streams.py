"""What goes on for as long as somebody listens: live streams and open pages. Bounded for each key and each address,
and ended when their key is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from postil.api.lanes import Lanes
from postil.api.refusals import refused

CHECK_SECONDS = 5.0  # between two looks at whether the keys still open anything
MEDIA_TYPE = "text/event-stream"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


@dataclass(eq=False)
class Open:
    """A stream or a page that is open, of a key or a rater. `over` is set when it has to end."""

    who: str
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Streams:
    """All that is open. Everything is called on the server's loop, but for `end`."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._open: set[Open] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def open(self, kind: Literal["streams", "sockets"], who: str, address: str) -> AsyncIterator[Open]:
        """A place for a stream or a page of this key or rater, from this address. Raises Refused `too_many_open`."""
        self._loop = asyncio.get_running_loop()
        async with self._lanes.place(kind, who), self._lanes.place("addresses", address):
            entry = Open(who)
            self._open.add(entry)
            try:
                yield entry
            finally:
                self._open.discard(entry)

    def listeners(self) -> set[str]:
        """The keys and raters who have something open."""
        return {entry.who for entry in self._open}

    def end(self, who: str) -> None:
        """End all that is open of a key or rater. May be called from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end, who)

    def _end(self, who: str) -> None:
        for entry in self._open:
            if entry.who == who:
                entry.over.set()

    async def watch(self, active: Callable[[str], bool]) -> None:
        """End what is open of those who may not any more, whoever decided that and where; until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for who in self.listeners():
                with suppress(Exception):  # a database that is away now is looked at again soon
                    if not await self._lanes.run("keys", "", active, who):
                        self._end(who)


class EventStream(StreamingResponse):
    """Server-sent events, with what is to be given back when they end, however that comes about."""

    def __init__(self, events: AsyncIterator[str], places: AsyncExitStack) -> None:
        super().__init__(events, media_type=MEDIA_TYPE, headers=HEADERS)
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._places:
            await super().__call__(scope, receive, send)


async def until_over(entry: Open, events: AsyncIterator[str]) -> AsyncIterator[str]:
    """The events, until they end or have to; then the last one says why."""
    over = asyncio.create_task(entry.over.wait())
    try:
        while not over.done():
            following = asyncio.ensure_future(anext(events))
            try:
                await asyncio.wait({following, over}, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    yield following.result()
            except StopAsyncIteration:
                return
            finally:
                if not following.done():
                    following.cancel()
                    with suppress(asyncio.CancelledError):
                        await following
        yield f"data: {refused('invalid_api_key').told().model_dump_json()}\n\n"
    finally:
        over.cancel()
        await events.aclose()  # type: ignore[attr-defined]  # they are a generator
