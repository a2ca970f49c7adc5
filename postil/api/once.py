"""A POST that is sent again has one effect: by its Idempotency-Key, or because the client says that it is a retry."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import JSONResponse

from postil.api.house import House
from postil.api.refusals import refused
from postil.store import Asked

if TYPE_CHECKING:
    from postil.store.tables import Key

Make = Callable[[str | None], BaseModel]  # makes the object and remembers, by this reply, that it did
Again = Callable[[str], BaseModel]  # the object of this id
_TOKEN = re.compile(r"[\x21-\x7e]{1,255}\Z")


def fingerprint(*parts: object) -> str:
    """What makes two bodies the same, whatever they were wrapped in on the way."""
    digest = hashlib.sha256()
    for part in parts:
        text = str(part).encode("utf-8")
        digest.update(b"%d:" % len(text) + text)
    return digest.hexdigest()


def once(request: Request, house: House, caller: Key, body: str, make: Make, again: Again | None = None, *,
         retried: bool = False) -> JSONResponse:  # fmt: skip
    """Carry out `make`, or answer as before.

    body: fingerprint. retried: the route also knows requests again that have no Idempotency-Key but say that they are
    retries. Raises StoreError `idempotency_key_reused`, Refused `still_running`.
    """
    token = request.headers.get("idempotency-key")
    if token is not None and not _TOKEN.match(token):
        raise refused("invalid_value", param="Idempotency-Key", detail="1 - 255 ASCII")
    if token is None and not retried:
        return answered(make(None))
    asked = Asked(caller.id, request.method, request.url.path, body, token, _is_retry(request))
    reply, new = house.store.replies.begin(asked)
    if not new:
        if reply.status is not None:
            return JSONResponse(reply.body, reply.status, {"idempotent-replayed": "true"})
        if reply.object_id is None or again is None:
            raise refused("still_running")
        return answered(again(reply.object_id), {"idempotent-replayed": "true"})
    finished = False
    try:
        made = make(reply.id)
        finished = True
    finally:
        if not finished:
            house.store.replies.forget(reply.id)
    house.store.replies.done(reply.id, 200, made.model_dump(mode="json"))
    return answered(made)


def answered(made: BaseModel, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(made.model_dump(mode="json"), 200, headers)


def _is_retry(request: Request) -> bool:
    count = request.headers.get("x-stainless-retry-count", "0")
    return count.isdecimal() and int(count[:9]) >= 1
