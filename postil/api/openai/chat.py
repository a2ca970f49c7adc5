"""Chat completions: whole, or as a stream that can be trusted to be whole when it ends.

A stream begins with the first token, so that whatever goes wrong before it is an ordinary HTTP error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from postil.api.bodies import StrictRoute
from postil.api.booking import Booking, book
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lists import checked_name
from postil.api.once import fingerprint, once
from postil.api.openai.chat_request import ChatRequest, requests_of
from postil.api.openai.chat_shown import (
    ChatCompletion,
    Marked,
    MarkedCompletion,
    chances,
    completion,
    finished,
    logprobs,
    usage,
)
from postil.api.refusals import Refused, documented, refused
from postil.errors import PostilError
from postil.serve import Engine, Piece, Reply, Running
from postil.serve import Request as Question
from postil.store import new_id, now

if TYPE_CHECKING:
    from postil.store.tables import Key

PING_SECONDS = 15
STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

router = APIRouter(route_class=StrictRoute, tags=["Chat"], responses=documented(409))


@router.post(
    "/chat/completions", response_model=MarkedCompletion | ChatCompletion, dependencies=[may("serve")],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)  # fmt: skip
async def create_completion(request: Request, body: ChatRequest, house: TheHouse, caller: Caller) -> Response:
    """Ask a base model, a fine-tuned model or a checkpoint."""
    callee = await run_in_threadpool(house.find, caller.project, checked_name(body.model, "model"))
    asked = requests_of(body, callee.adapter, caller.project)
    engine = await run_in_threadpool(house.engine, callee.base)
    if "idempotency-key" in request.headers and not body.stream:
        return await run_in_threadpool(_remembered, request, house, caller, body, engine, asked)
    booking = await run_in_threadpool(book, house, caller, engine, asked)
    choir = Choir(booking)
    try:
        await choir.start(request)
        if body.stream:
            return _streamed(body, choir)
        replies = await choir.replies()
        await booking.settled()
    except BaseException:  # whatever it was, nobody hears the rest
        choir.stop()
        raise
    return JSONResponse(_told(body, replies).model_dump(mode="json"))


def _remembered(request: Request, house: House, caller: Key, body: ChatRequest, engine: Engine,
                asked: Sequence[Question]) -> JSONResponse:  # fmt: skip
    """With an Idempotency-Key the answer is made to its end, whoever is still there."""

    def make(reply: str | None) -> ChatCompletion:
        booking = book(house, caller, engine, asked)
        try:
            running = [booking.start(question) for question in booking.wanted]
            replies = [answer.result() for answer in running]
            booking.wait()
        finally:
            booking.close()
        return _told(body, replies)

    return once(request, house, caller, fingerprint(body.model_dump_json()), make)


def _told(body: ChatRequest, replies: Sequence[Reply]) -> ChatCompletion:
    return completion(new_id("chatcmpl-"), now(), body.model, replies, bool(body.logprobs))


@dataclass(frozen=True)
class Heard:
    """A piece of one of the answers, or its end."""

    index: int
    piece: Piece | None = None
    ended: Running | None = None


class Choir:
    """The answers to one request, under way together; what they say comes in one row."""

    def __init__(self, booking: Booking) -> None:
        self.booking = booking
        self._running: list[Running] = []
        self._row: asyncio.Queue[Heard] = asyncio.Queue()
        self._gone: asyncio.Task[None] | None = None
        self.first: Heard | None = None

    async def start(self, request: Request) -> None:
        """Begin, and wait for the first word, but no longer than until a ping is due.

        Raises what the engine refuses, and Refused `client_gone`.
        """
        self._gone = asyncio.create_task(_left(request))
        await run_in_threadpool(self._begin, asyncio.get_running_loop())
        self.first = await self.next()
        if self.first and self.first.ended:
            self.first.ended.result()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        def put(heard: Heard) -> None:
            with suppress(RuntimeError):  # the loop has closed: the server is going
                loop.call_soon_threadsafe(self._row.put_nowait, heard)

        def begin(index: int, wanted: Question) -> Running:
            return self.booking.start(
                wanted, lambda piece: put(Heard(index, piece=piece)), lambda ended: put(Heard(index, ended=ended))
            )

        for i, wanted in enumerate(self.booking.wanted):
            self._running.append(begin(i, wanted))

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
        """Nobody listens any more."""
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


async def _left(request: Request) -> None:
    """Ends when the client is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _streamed(body: ChatRequest, choir: Choir) -> StreamingResponse:
    choir.let_go()
    stream = Stream(body, choir)
    return StreamingResponse(stream.events(), media_type="text/event-stream", headers=STREAM_HEADERS)


class Stream:
    """The chunks of an answer."""

    def __init__(self, body: ChatRequest, choir: Choir) -> None:
        self._body, self._choir = body, choir
        self._id, self._created = new_id("chatcmpl-"), now()
        self._with_usage = bool(body.stream_options and body.stream_options.include_usage)

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events; an error in the middle is told, and then there is no [DONE]."""
        replies: dict[int, Reply] = {}
        count = self._body.n or 1
        try:
            for i in range(count):
                yield self._chunk(i, {"role": "assistant", "content": ""})
            heard = self._choir.first
            while len(replies) < count:
                if heard is None:
                    yield ": ping\n\n"
                elif heard.ended is not None:
                    replies[heard.index] = heard.ended.result()
                    yield self._last(heard.index, replies[heard.index])
                elif heard.piece is not None:
                    yield self._piece(heard.index, heard.piece)
                if len(replies) < count:
                    heard = await self._choir.next()
            await self._choir.booking.settled()
            if self._with_usage:
                yield self._event({"choices": [], "usage": usage(list(replies.values())).model_dump()})
            yield "data: [DONE]\n\n"
        except PostilError as error:
            yield f"data: {Refused(error).told().model_dump_json()}\n\n"
        finally:
            self._choir.stop()

    def _last(self, index: int, reply: Reply) -> str:
        delta = {"x_postil": chances(reply).model_dump()} if reply.chances else {}
        marked = {"x_postil": Marked(marks_as_text=reply.marks).model_dump()} if reply.marks else {}
        return self._chunk(index, delta, finished(reply), more=marked)

    def _piece(self, index: int, piece: Piece) -> str:
        likely = logprobs(piece.tokens).model_dump() if self._body.logprobs else None
        return self._chunk(index, {"content": piece.text}, None, likely)

    def _chunk(self, index: int, delta: dict[str, Any], reason: str | None = None, likely: Any = None,
               more: Mapping[str, Any] = {}) -> str:  # fmt: skip
        choice = {"index": index, "delta": delta, "logprobs": likely, "finish_reason": reason}
        return self._event({"choices": [choice], **({"usage": None} if self._with_usage else {}), **more})

    def _event(self, more: dict[str, Any]) -> str:
        chunk = {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": self._body.model,
                 "system_fingerprint": "fp_local", **more}  # fmt: skip
        return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
