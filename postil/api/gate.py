"""What every request passes before anything reads it: address, origin, key, pace and size. And what every answer gets.

A plain ASGI layer: nothing is buffered, so streams go through as they are.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postil.api.bodies import address_of
from postil.api.lanes import Lanes
from postil.api.logs import request_id
from postil.api.origin import is_ours
from postil.api.rate_limits import RateLimits
from postil.api.refusals import Refused, refused
from postil.api.standing import Standing, answer_while_holds
from postil.errors import PostilError
from postil.locales import LANGUAGES, speak, speak_to_clients

JSON_BYTES = 4 << 20
FORM_BYTES = 1 << 20  # what a form may have beside its file
FILE_BYTES = 512 << 20
PART_BYTES = 64 << 20
PIECE_SECONDS = 60  # how long the next piece of a body may take
BODY_SECONDS = 3600  # and all of it
PROBES = frozenset({"/livez", "/readyz"})  # supervisors name a machine by its number, and are told nothing of it
OPEN_PATHS = frozenset({"/health", "/openapi.json"}) | PROBES
PAGE_UPLOAD = "/studio/upload"
LANGUAGE_COOKIE = "postil_lang"
SAFE = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}
_SECRET = re.compile(r"[\x21-\x7e]{1,256}\Z")
_RATED = re.compile(r"/rate/[^/]+/(?:ballot|votes|result)\Z")
_UPLOADED = re.compile(r"/v1/uploads/[^/]+/parts\Z")


class Knows(Protocol):
    """Who tells keys apart: the store's keys."""

    def check(self, secret: str) -> Any: ...
    def holds(self, key: Any) -> bool: ...


class Gate:
    """Refuses what must not come in; gives every answer its request id and its security headers.

    hosts: what may stand in Host, with the port ("127.0.0.1:8000"). Pages outside /v1 have their own sign-in,
    raters their links.
    """

    def __init__(self, app: ASGIApp, keys: Knows, hosts: Callable[[], Iterable[str]], rate_limits: RateLimits,
                 lanes: Lanes, standing: Standing) -> None:  # fmt: skip
        self._app, self._keys, self._hosts = app, keys, hosts
        self._rate_limits, self._lanes, self._standing = rate_limits, lanes, standing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        speak(_language(headers))
        speak_to_clients()
        if scope["type"] == "websocket":
            request_id.set(f"ws_{secrets.token_hex(12)}")
            await self._websocket(headers, scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = f"req_{secrets.token_hex(12)}"
        request_id.set(state["request_id"])
        dressed = _dressed(send, state["request_id"], scope["path"])
        try:
            if scope["path"] not in PROBES:
                self._check_address(scope["method"], headers)
            if _needs_key(scope["path"]):
                state["key"] = await self._key(headers, address_of(scope))
                self._rate_limits.count_request(state["key"])
            receive = _bounded(receive, headers, _most_bytes(scope["path"]))
        except (Refused, PostilError) as error:
            refusal = error if isinstance(error, Refused) else Refused(error)
            await refusal.response()(scope, receive, dressed)
            return
        key = state.get("key")
        if key is None:
            await self._app(scope, receive, dressed)
            return
        holds = partial(self._standing.holds, f"{key.id} {key.digest}", partial(self._keys.holds, key))
        ended = refused("key_ended", status=401).response()
        await answer_while_holds(holds, self._app, scope, receive, dressed, ended)

    async def _websocket(self, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check_address("", headers)
        except Refused:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)

    def _check_address(self, method: str, headers: Headers) -> None:
        """DNS rebinding ends here: whatever a name resolves to, it must be one of ours."""
        allowed = {host.lower() for host in self._hosts()}
        named = headers.getlist("host")
        if len(named) != 1 or named[0].lower() not in allowed:
            raise refused("host_not_allowed")
        ours = {f"{scheme}://{host}" for host in allowed for scheme in ("http", "https")}
        if not is_ours(method, headers, ours):
            raise refused("origin_not_allowed")

    async def _key(self, headers: Headers, address: str) -> Any:
        kind, _, secret = headers.get("authorization", "").partition(" ")
        secret = secret.strip()
        if kind.lower() != "bearer" or not _SECRET.match(secret):
            raise refused("invalid_api_key")
        key = await self._lanes.run("keys", address, self._keys.check, secret)
        if key is None:
            raise refused("invalid_api_key")
        return key


def _language(headers: Headers) -> str:
    """What the reader chose in a page, else what the browser or client prefers."""
    chosen = cookie_parser(headers.get("cookie", "")).get(LANGUAGE_COOKIE)
    if chosen in LANGUAGES:
        return chosen
    return "zh" if headers.get("accept-language", "").strip().lower().startswith("zh") else "en"


def _needs_key(path: str) -> bool:
    return path not in OPEN_PATHS and (path == "/v1" or path.startswith("/v1/"))


def _most_bytes(path: str) -> int:
    if path in ("/v1/files", PAGE_UPLOAD):
        return FILE_BYTES + FORM_BYTES
    return PART_BYTES + FORM_BYTES if _UPLOADED.match(path) else JSON_BYTES


def _dressed(send: Send, request_id: str, path: str) -> Send:
    """Adds the headers that every answer has. What a page has set itself stays."""

    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            headers["x-request-id"] = request_id
            ours = path.startswith(("/v1", *OPEN_PATHS)) or _RATED.match(path)
            for name, value in SAFE.items() if ours else ():
                headers.setdefault(name.decode(), value.decode())
        await send(message)

    return dressed


def _bounded(receive: Receive, headers: Headers, most: int) -> Receive:
    """A body that is neither larger nor slower than it may be. Raises Refused: at once for what is announced."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise refused("content_encoding", encoding=encoding[:40])
    announced = headers.get("content-length", "0")
    if announced.isdecimal() and int(announced[:20]) > most:
        raise refused("request_too_large", most=most)
    came, done, begun = 0, False, time.monotonic()

    async def bounded() -> Message:
        nonlocal came, done
        if done:
            return await receive()
        try:
            left = min(PIECE_SECONDS, BODY_SECONDS - (time.monotonic() - begun))
            message = await asyncio.wait_for(receive(), max(0.0, left))
        except TimeoutError:
            done = True
            raise refused("request_too_slow") from None
        came += len(message.get("body", b""))
        done = message["type"] != "http.request" or not message.get("more_body", False)
        if came > most:
            raise refused("request_too_large", most=most)
        return message

    return bounded
