"""Signing in: by the link that `postil studio` prints, or with an API key; then a cookie for a month.

The cookie names a key and is signed with a secret of this store, so that it holds over a restart and ends with the key.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from postil.api import House, Refused, address_of
from postil.errors import PostilError
from postil.locales import language
from postil.store import Store, write_bytes
from postil.web.raters import Raters, refusal_page

if TYPE_CHECKING:
    from postil.store.tables import Key

ROOT = "/studio"
COOKIE = "postil_session"
MONTH = 30 * 24 * 3600
RATING = f"{ROOT}/rate/"
OPEN = (f"{ROOT}/login", RATING, f"{ROOT}/_nicegui/", f"{ROOT}/favicon.ico")
OF_VISITORS = f"{ROOT}/_nicegui/client/"  # what a page of somebody's own receives
SAFE = {
    b"content-security-policy": b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    b"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
FULL, REVOKED = 1013, 1008  # why a socket is closed


class Sessions:
    """Who has signed in. `token`: opens the door from this start of the server on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.secret = _secret(store.directory / "pages.secret")
        self._signer = TimestampSigner(self.secret, salt="pages")
        self.token = secrets.token_urlsafe(32)

    def open_with(self, given: str) -> Key | None:
        """The key that a link's token or an API key opens, if it opens one."""
        if hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            return self._store.keys.of_pages()
        return self._store.keys.check(given)

    def cookie(self, key: Key) -> str:
        return self._signer.sign(key.id).decode()

    def key(self, cookie: str | None) -> Key | None:
        """Whose cookie this is, unless it is too old, or the key was revoked."""
        try:
            key_id = self._signer.unsign(cookie or "", max_age=MONTH).decode()
        except BadSignature:
            return None
        return self._store.keys.active(key_id)


class SignIn:
    """Lets nobody past who has not signed in, but for the door itself, the raters' pages and the pages' scripts."""

    def __init__(self, app: ASGIApp, sessions: Sessions, house: House) -> None:
        self._app, self._sessions, self._house = app, sessions, house
        self._raters = Raters(house, sessions.secret)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not scope["path"].startswith(ROOT):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        whose, cookie = self._sessions.key, connection.cookies.get(COOKIE)
        key = await self._house.lanes.run("keys", address_of(connection), whose, cookie) if cookie else None
        scope.setdefault("state", {})["key"] = key
        if scope["type"] == "websocket":
            await self._socket(key.id if key else await self._raters.known(connection), connection, receive, send)
            return
        if key is None and not _is_open(scope["path"]):
            wanted = quote(scope["path"], safe="/")
            await RedirectResponse(f"{ROOT}/login?next={wanted}", 303)(scope, receive, send)
            return
        more = {}
        if scope["path"].startswith(RATING):
            try:
                link = await self._raters.look_up(scope["path"].removeprefix(RATING), connection)
            except (PostilError, Refused) as error:
                await refusal_page(error)(scope, receive, _dressed(SAFE, send))
                return
            scope["state"]["link"] = link
            more[b"set-cookie"] = self._raters.cookie(link.rater.id, ROOT)  # NiceGUI answers with its own response
        await self._app(scope, receive, _dressed({**SAFE, **more}, send))

    async def _socket(self, who: str | None, connection: HTTPConnection, receive: Receive, send: Send) -> None:
        """The socket of a page, while there is room for it and whoever opened it may have it."""
        if who is None:
            await receive()
            await send({"type": "websocket.close", "code": REVOKED})
            return
        async with AsyncExitStack() as places:
            try:
                place = self._house.streams.open("sockets", who, address_of(connection))
                entry = await places.enter_async_context(place)
            except Refused as refusal:
                await receive()
                await send({"type": "websocket.accept"})
                await send({"type": "websocket.close", "code": FULL, "reason": _reason(refusal)})
                return
            page = asyncio.ensure_future(self._app(connection.scope, receive, send))
            over = asyncio.ensure_future(entry.over.wait())
            try:
                await asyncio.wait({page, over}, return_when=asyncio.FIRST_COMPLETED)
                if page.done():
                    page.result()
                else:
                    await send({"type": "websocket.close", "code": REVOKED})
            finally:
                page.cancel()
                over.cancel()


def _reason(refusal: Refused) -> str:
    """Why a socket is closed, in the 123 bytes that there are for it."""
    return refusal.error.cause(language()).encode()[:123].decode("utf-8", "ignore")


def _is_open(path: str) -> bool:
    return path.startswith(OPEN) and not path.startswith(OF_VISITORS)


def _dressed(headers: Mapping[bytes, bytes], send: Send) -> Send:
    async def dressed(message: Any) -> None:
        if message["type"] == "http.response.start":
            named = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *((n, v) for n, v in headers.items() if n not in named)]
        await send(message)

    return dressed


def _secret(path: Path) -> bytes:
    """A secret of 256 bits that only the owner of this directory can read; made when it is first needed."""
    if not path.exists():
        write_bytes(path, secrets.token_hex(32).encode())  # a temporary file of mode 600, renamed
    return path.read_bytes()
