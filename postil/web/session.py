"""Signing in: by the link that `postil studio` prints, or with an API key; then a cookie for a month.

The cookie names a key and is signed with a secret of this store, so that it holds over a restart and ends with the key.
"""

from __future__ import annotations

import hmac
import html
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from itsdangerous import BadSignature, TimestampSigner
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postil.api import refused
from postil.store import Store, write_bytes
from postil.web.sockets import is_owner, is_page

if TYPE_CHECKING:
    from postil.store.tables import Key

ROOT = "/studio"
COOKIE = "postil_session"
RATER_COOKIE = "postil_rater"  # with which the socket of a page of votes is let in
MONTH = 30 * 24 * 3600
RATING = f"{ROOT}/rate/"
OPEN = (f"{ROOT}/login", RATING, f"{ROOT}/_nicegui/", f"{ROOT}/favicon.ico")
CLOSE = {"type": "websocket.close", "code": 1008}
WATCH_SECONDS = 1.0
OF_VISITORS = f"{ROOT}/_nicegui/client/"  # what a page of somebody's own receives
SAFE = {
    b"content-security-policy": b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    b"object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"same-origin",  # with no-referrer, forms of ours would hide where they come from
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
RATER = {
    b"set-cookie": f"{RATER_COOKIE}=1; HttpOnly; Max-Age={24 * 3600}; Path={ROOT}; SameSite=strict".encode()
}  # here, because a page of NiceGUI answers with a response of its own


class Sessions:
    """Who has signed in. `token`: opens the door from this start of the server on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._signer = TimestampSigner(_secret(store.directory / "pages.secret"), salt="pages")
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

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not scope["path"].startswith(ROOT):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        key = await run_in_threadpool(self._sessions.key, connection.cookies.get(COOKIE))
        scope.setdefault("state", {})["key"] = key
        if scope["type"] == "websocket":
            if key is None and RATER_COOKIE not in connection.cookies and not is_page(connection.url.query):
                await receive()
                await send(CLOSE)
                return
            watch = Watch(lambda: self._sessions.key(connection.cookies.get(COOKIE)), receive, send)
            await self._app(scope, *((watch.receive, watch.send) if key else (receive, send)))
            return
        if scope["path"].startswith(OF_VISITORS) and key and not is_owner(scope["path"].split("/")[4], key):
            await refused("unknown_url", method=scope["method"][:20], path="").response()(scope, receive, send)
            return
        if key is None and not _is_open(scope["path"]):
            await _to_the_door(connection)(scope, receive, send)
            return
        votes = scope["path"].startswith(RATING)
        await self._app(scope, receive, _dressed({**SAFE, **(RATER if votes else {})}, send))


def _to_the_door(connection: HTTPConnection) -> Response:
    """To sign in, and then where they wanted to go.

    Who follows a link of another site comes without the cookie, which is strict: our own page asks again, with it.
    """
    wanted = quote(connection.scope["path"], safe="/") + (f"?{query}" if (query := connection.url.query) else "")
    if connection.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return onward(wanted)
    return RedirectResponse(f"{ROOT}/login?next={quote(wanted, safe='/')}", 303)


def onward(path: str) -> HTMLResponse:
    """A page of ours that goes on to `path`. Unlike after a redirect, our cookies go along wherever one came from."""
    there = html.escape(path, quote=True)
    return HTMLResponse(f'<!doctype html><meta http-equiv="refresh" content="0;url={there}"><title>Postil</title>'
                        f'<link rel="icon" href="data:,"><a href="{there}">Postil</a>',
                        headers={"cache-control": "no-store"})  # fmt: skip


class Watch:
    """An open socket of somebody who has signed in: it ends when they have not any more.

    `who` tells the key. It is asked before each message that comes, and at most each second before one that goes.
    """

    def __init__(self, who: Callable[[], Any], receive: Receive, send: Send,
                 clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        self._who, self._receive, self._send, self._clock = who, receive, send, clock
        self._asked, self._over = clock(), False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "websocket.receive" or await self._goes_on():
            return message
        return {"type": "websocket.disconnect", "code": CLOSE["code"]}

    async def send(self, message: Message) -> None:
        fresh = self._clock() < self._asked + WATCH_SECONDS
        if message["type"] != "websocket.send" or (fresh and not self._over) or await self._goes_on():
            await self._send(message)

    async def _goes_on(self) -> bool:
        self._asked = self._clock()
        if not self._over and await run_in_threadpool(self._who) is None:
            self._over = True
            await self._send(CLOSE)
        return not self._over


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
