"""JSON that comes in: read strictly, and what is wrong with it told by the name of the field.

null counts as absent; what is not known is refused; a number is a number, never a text that looks like one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import Annotated, Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import HTTPConnection

from postil.api.lanes import lane_of, on_behalf_of
from postil.api.refusals import Refused, refused
from postil.locales import knows, say

DEPTH = 64


class Body(BaseModel):
    """The root of all request bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]


Version = Annotated[str | None, Field(max_length=64)]  # the `version` of the object that was read; null: unseen


class StrictRequest(Request):
    """A request whose JSON is held to the letter."""

    async def json(self) -> Any:
        return read(await self.body())


class StrictRoute(APIRoute):
    """The routes of this API; a plain function is called in its turn, on a thread."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()
        waits = iscoroutinefunction(self.endpoint)  # then it takes its places itself
        lane = lane_of(self.endpoint, "reads" if (self.methods or set()) <= {"GET", "HEAD"} else "writes")

        async def handle(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            if waits:
                return await inner(strict)
            await strict.body()  # whoever sends slowly has no place meanwhile
            who = caller_of(request)
            async with request.app.state.house.lanes.place(lane, who):
                with on_behalf_of(who):
                    return await inner(strict)

        return handle


def caller_of(request: HTTPConnection) -> str:
    """Whose request it is: the project of its key, else the address that it came from."""
    key = request.scope.get("state", {}).get("key")
    return str(key.project) if key is not None else address_of(request)


def address_of(scope: Mapping[str, Any]) -> str:
    """The network address that a request or a connection came from; empty where that is not known."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def read(body: bytes) -> Any:
    """The value of a JSON text. Raises Refused `invalid_json`.

    Refused, though Python reads it: NaN and Infinity, half characters and NUL (no database holds them), nesting
    deeper than 64.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except UnicodeDecodeError:
        raise refused("invalid_json", detail="UTF-8") from None
    except (ValueError, RecursionError) as error:
        detail = f"{error.msg}, {error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise refused("invalid_json", detail=detail or say("refusal.json_value")) from None
    _check(value)
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _check(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH:
            raise refused("invalid_json", detail=say("refusal.json_depth", most=DEPTH))
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                below += one
            elif isinstance(one, str) and not writable(one):
                raise refused("invalid_json", detail=say("refusal.json_character"))
        level = below


def writable(text: str) -> bool:
    """Whether every database and every file takes this text."""
    if "\0" in text:
        return False
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def explained(faults: Sequence[Mapping[str, Any]]) -> Refused:
    """The first of pydantic's findings, as a refusal."""
    fault = faults[0]
    param = name_of(fault["loc"])
    if not param:
        return refused("invalid_json", detail=say("refusal.json_object"))
    if fault["type"] == "missing":
        return refused("missing_parameter", param=param)
    if fault["type"] == "extra_forbidden":
        return refused("unknown_parameter", param=param)
    return refused("invalid_value", param=param, detail=_detail(fault))


def name_of(loc: Sequence[Any]) -> str:
    """messages[0].content, without the words that say where it was looked for."""
    parts = loc[1:] if loc and loc[0] in ("body", "query", "path", "header") else loc
    named = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts if part != "[key]")
    return named.removeprefix(".")[:200]


def _detail(fault: Mapping[str, Any]) -> str:
    values = {name: str(value)[:200] for name, value in fault.get("ctx", {}).items()}
    key = f"refusal.{fault['type']}"
    return say(key, **values) if knows(key) else say("refusal.other")
