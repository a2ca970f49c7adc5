"""Chat completions: whole, or as a stream that can be trusted to be whole when it ends.

A stream begins with the first token, so that whatever goes wrong before it is an ordinary HTTP error.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from postil.api.bodies import StrictRoute, address_of
from postil.api.booking import Booking, booked_on_a_thread
from postil.api.choir import Choir, whole
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lists import checked_name
from postil.api.once import fingerprint, once_later
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
from postil.api.refusals import Refused, documented
from postil.api.streams import EventStream
from postil.errors import PostilError
from postil.serve import Piece, Reply
from postil.store import new_id, now

if TYPE_CHECKING:
    from postil.store.tables import Key

router = APIRouter(route_class=StrictRoute, tags=["Chat"], responses=documented(409))


@router.post(
    "/chat/completions", response_model=MarkedCompletion | ChatCompletion, dependencies=[may("serve")],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)  # fmt: skip
async def create_completion(request: Request, body: ChatRequest, house: TheHouse, caller: Caller) -> Response:
    """Ask a base model, a fine-tuned model or a checkpoint."""
    lanes, project = house.lanes, caller.project
    callee = await lanes.run("reads", project, house.find, project, checked_name(body.model, "model"))
    questions = requests_of(body, callee.adapter, project)
    async with AsyncExitStack() as places:
        await places.enter_async_context(lanes.place("answers", project, len(questions)))
        engine = await lanes.run("engines", project, house.engine, callee.base)
        if body.stream:
            booking = await booked_on_a_thread(house, caller, engine, questions)
            return await _streamed(request, house, caller, body, booking, places)

        async def make(reply: str | None) -> ChatCompletion:
            booking = await booked_on_a_thread(house, caller, engine, questions)
            return _told(body, await whole(booking, lanes, None if reply else request))

        # with an Idempotency-Key the answer is made to its end, whoever is still there
        return await once_later(request, house, caller, fingerprint(body.model_dump_json()), make)


def _told(body: ChatRequest, replies: Sequence[Reply]) -> ChatCompletion:
    return completion(new_id("chatcmpl-"), now(), body.model, replies, bool(body.logprobs))


async def _streamed(request: Request, house: House, caller: Key, body: ChatRequest, booking: Booking,
                    places: AsyncExitStack) -> EventStream:  # fmt: skip
    """The stream, with the places that it takes until it ends."""
    choir = Choir(booking, house.lanes)
    try:
        await places.enter_async_context(house.streams.open("streams", caller.id, address_of(request)))
        await choir.start(request)
    except BaseException:  # whatever it was, nobody hears what would still come
        choir.stop()
        raise
    choir.let_go()
    places.callback(choir.stop)  # however the response ends, also before it has begun
    return EventStream(Stream(body, choir).events(), places.pop_all())


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
