"""What goes on for as long as somebody listens: live streams and open pages. Bounded for each key and each address.

That they end with the key that opened them is seen to in `standing`, as for every long answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from postil.api.lanes import Lanes

MEDIA_TYPE = "text/event-stream"
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class Streams:
    """Places for all that is open."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    @asynccontextmanager
    async def open(self, kind: Literal["streams", "sockets"], who: str, address: str) -> AsyncIterator[None]:
        """A place for a stream or a page of this key or rater, from this address. Raises Refused `too_many_open`."""
        async with self._lanes.place(kind, who), self._lanes.place("addresses", address):
            yield


class EventStream(StreamingResponse):
    """Server-sent events, with what is to be given back when they end, however that comes about."""

    def __init__(self, events: AsyncIterator[str], places: AsyncExitStack) -> None:
        super().__init__(events, media_type=MEDIA_TYPE, headers=HEADERS)
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._places:
            await super().__call__(scope, receive, send)
