"""A key that is revoked or rotated, a session that has ended: what it opened ends, too, within seconds.

Whoever serves a long answer or a page's socket does it in `while_holds`, which looks now and then whether the door
would still open. All that came in by one key look at the database together, once in LOOK_SECONDS.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postil.api.lanes import Lanes
from postil.api.refusals import Refused, refused
from postil.errors import PostilError

LOG = logging.getLogger(__name__)
LOOK_SECONDS = 2.0
MOST_FAULTS = 5  # in a row, then the door is closed
MOST_NAMES = 10_000


class Standing:
    """What was found when somebody last looked. `clock`: seconds that only grow."""

    def __init__(self, lanes: Lanes, clock: Callable[[], float] = time.monotonic) -> None:
        self._lanes, self._clock = lanes, clock
        self._looked: dict[str, tuple[float, bool]] = {}  # name -> (when, whether it held)

    async def holds(self, name: str, look: Callable[[], bool]) -> bool:
        """Whether `look` says so, asked now or a moment ago. A database that is away ends nothing."""
        when, held = self._looked.get(name, (float("-inf"), True))
        if not held or self._clock() - when < LOOK_SECONDS:
            return held
        if len(self._looked) >= MOST_NAMES:
            self._looked.clear()
        self._looked[name] = (self._clock(), held)  # the others need not look, too
        try:
            held = await self._lanes.run("keys", "", look)
        except (PostilError, Refused):
            return True
        self._looked[name] = (self._clock(), held)
        return held


async def while_holds(holds: Callable[[], Awaitable[bool]], serve: Awaitable[None]) -> bool:
    """Serve until it is done, or until what opened the door no longer does. Returns whether it was done."""
    loop = asyncio.get_running_loop()
    looking: list[asyncio.Task[None]] = []

    async def look(limit: asyncio.Timeout) -> None:
        faults = 0
        while faults < MOST_FAULTS:
            try:
                if not await holds():
                    break
                faults = 0
            except Exception:  # one fault of ours ends nobody's answer, but who cannot be looked up for long is let go
                LOG.exception("whether a key holds cannot be looked up")
                faults += 1
            await asyncio.sleep(LOOK_SECONDS)
        limit.reschedule(loop.time())

    limit = asyncio.timeout(None)
    try:
        async with limit:
            later = loop.call_later(LOOK_SECONDS, lambda: looking.append(loop.create_task(look(limit))))
            try:
                await serve
            finally:
                later.cancel()
                for task in looking:
                    task.cancel()
    except TimeoutError:
        if not limit.expired():
            raise
        return False
    return True


async def answer_while_holds(holds: Callable[[], Awaitable[bool]], app: ASGIApp, scope: Scope, receive: Receive,
                             send: Send, refusal: Response) -> None:  # fmt: skip
    """The answer to a request. When the door closes in its middle: `refusal` if nothing was sent yet, an error as the
    last event of a stream, and of anything else the connection's end."""
    sent: list[Message] = []

    async def watched(message: Message) -> None:
        if message["type"] == "http.response.start" or not message.get("more_body", False):
            sent.append(message)
        await send(message)

    if await while_holds(holds, app(scope, receive, watched)):
        return
    if not sent:
        await refusal(scope, receive, send)
    elif len(sent) == 1 and Headers(raw=sent[0]["headers"]).get("content-type", "").startswith("text/event-stream"):
        error = refused("key_ended").told().model_dump_json()
        await send({"type": "http.response.body", "body": f"data: {error}\n\n".encode()})
