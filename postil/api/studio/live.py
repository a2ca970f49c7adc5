"""A job as it happens: server-sent events, which a client that was cut off takes up where it was."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from postil.api.bodies import StrictRoute, address_of
from postil.api.broadcast import LOOK_SECONDS
from postil.api.house import Caller, House, TheHouse, may
from postil.api.refusals import documented, refused
from postil.api.streams import EventStream
from postil.api.studio.tasks import any_job
from postil.locales import knows, say
from postil.store import TERMINAL

if TYPE_CHECKING:
    from postil.store.tables import Job, JobEvent, Key

PING_SECONDS = 15

router = APIRouter(route_class=StrictRoute, tags=["Studio: live"], responses=documented())


@router.get(
    "/jobs/{job_id}/live", dependencies=[may("read")], response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)  # fmt: skip
async def live(job_id: str, request: Request, house: TheHouse, caller: Caller) -> StreamingResponse:
    """`event` for each thing told, `state` when the job's state or progress changes, `end` when it is over.

    Last-Event-ID: go on after the event of this number.
    """
    seen = request.headers.get("last-event-id", "0")
    if not (seen.isascii() and seen.isdecimal() and len(seen) < 15):
        raise refused("invalid_value", param="Last-Event-ID", detail="0, 1, 2, ...")
    job = await house.lanes.run("reads", caller.project, any_job, house, caller, job_id)
    async with AsyncExitStack() as places:
        await places.enter_async_context(house.streams.open("streams", caller.id, address_of(request)))
        return EventStream(_told(house, caller, job.id, int(seen)), places.pop_all())


async def _told(house: House, caller: Key, job_id: str, seen: int) -> AsyncIterator[str]:
    state: dict[str, Any] | None = None
    quiet_since = time.monotonic()
    while not house.closing.is_set():
        job, events = await house.broadcast.news(caller.project, job_id, seen)
        for event in events:
            seen = event.number
            yield _event("event", _shown(event), seen)
        if not events and _state(job) != state:
            state = _state(job)
            yield _event("state", state, seen)
        elif events:
            quiet_since = time.monotonic()
        elif job.status in TERMINAL:
            yield _event("end", {"status": job.status}, seen)
            return
        elif time.monotonic() - quiet_since > PING_SECONDS:
            quiet_since = time.monotonic()
            yield ": ping\n\n"
        if not events:
            await asyncio.sleep(LOOK_SECONDS)
    yield _event("closing", {}, seen)


def _state(job: Job) -> dict[str, Any]:
    return {"id": job.id, "status": job.status, "hold": job.hold, "wish": job.wish, "progress": dict(job.progress),
            "fine_tuned_model": job.fine_tuned_model}  # fmt: skip


def _shown(event: JobEvent) -> dict[str, Any]:
    """In the language of whoever listens, where there is a sentence for it."""
    key = f"event.{event.code}"
    message = say(key, **(event.data or {})) if event.code and knows(key) else event.message
    return {"id": event.id, "number": event.number, "created_at": event.created_at, "level": event.level,
            "type": event.type, "message": message, "data": event.data}  # fmt: skip


def _event(kind: str, data: dict[str, Any], number: int) -> str:
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
