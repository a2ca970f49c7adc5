"""A POST that is sent again has one effect: by its Idempotency-Key, or because the client says that it is a retry."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from postil.api.house import House
from postil.api.refusals import refused
from postil.store import Asked

if TYPE_CHECKING:
    from postil.store.tables import Key

T = TypeVar("T")
Make = Callable[[str | None], BaseModel]  # makes the object and remembers, by this reply, that it did
MakeLater = Callable[[str | None], Awaitable[BaseModel]]  # the same on the server's loop
Again = Callable[[str], BaseModel]  # the object of this id
_TOKEN = re.compile(r"[\x21-\x7e]{1,255}\Z")


def fingerprint(*parts: object) -> str:
    """What makes two bodies the same, whatever they were wrapped in on the way."""
    digest = hashlib.sha256()
    for part in parts:
        text = str(part).encode("utf-8")
        digest.update(b"%d:" % len(text) + text)
    return digest.hexdigest()


@dataclass(frozen=True)
class Attempt:
    """What a request that may have come before begins with: its reply to be filled, or the answer that there is."""

    reply: str | None = None
    answer: JSONResponse | None = None


def once(request: Request, house: House, caller: Key, body: str, make: Make, again: Again | None = None, *,
         retried: bool = False) -> JSONResponse:  # fmt: skip
    """Carry out `make`, or answer as before.

    body: fingerprint. retried: the route also knows requests again that have no Idempotency-Key but say that they are
    retries. Raises StoreError `idempotency_key_reused`, Refused `still_running`.
    """
    attempt = _begin(request, house, caller, body, again, retried=retried)
    if attempt.answer is not None:
        return attempt.answer
    finished = False
    try:
        answer = make(attempt.reply)
        finished = True
    finally:
        if attempt.reply and not finished:
            house.store.replies.forget(attempt.reply)
    return _finish(house, attempt, answer)


async def once_later(request: Request, house: House, caller: Key, body: str, make: MakeLater) -> JSONResponse:
    """The same for what takes long without needing a thread: none waits for it. An answer that was given is kept."""

    async def store(work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return await house.lanes.run("writes", caller.project, work, *arguments, **named)

    if "idempotency-key" not in request.headers:
        return answered(await make(None))
    attempt = await store(_begin, request, house, caller, body, None, retried=False)
    if attempt.answer is not None:
        return attempt.answer
    try:
        answer = await make(attempt.reply)
    except BaseException:
        await asyncio.shield(store(house.store.replies.forget, attempt.reply))
        raise
    return await store(_finish, house, attempt, answer)


def _begin(
    request: Request, house: House, caller: Key, body: str, again: Again | None, *, retried: bool
) -> Attempt:  # fmt: skip
    token = request.headers.get("idempotency-key")
    if token is not None and not _TOKEN.match(token):
        raise refused("invalid_value", param="Idempotency-Key", detail="1 - 255 ASCII")
    if token is None and not retried:
        return Attempt()
    asked = Asked(caller.id, request.method, request.url.path, body, token, _is_retry(request))
    reply, new = house.store.replies.begin(asked)
    if new:
        return Attempt(reply.id)
    if reply.status is not None:
        return Attempt(answer=JSONResponse(reply.body, reply.status, {"idempotent-replayed": "true"}))
    if reply.object_id is None or again is None:
        raise refused("still_running")
    return Attempt(answer=answered(again(reply.object_id), {"idempotent-replayed": "true"}))


def _finish(house: House, attempt: Attempt, answer: BaseModel) -> JSONResponse:
    if attempt.reply:
        house.store.replies.done(attempt.reply, 200, answer.model_dump(mode="json"))
    return answered(answer)


def answered(made: BaseModel, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(made.model_dump(mode="json"), 200, headers)


def _is_retry(request: Request) -> bool:
    count = request.headers.get("x-stainless-retry-count", "0")
    return count.isdecimal() and int(count[:9]) >= 1
