"""Signing in: by the link that `postil studio` prints, or with an API key; then a cookie.

The cookie names a session, a row of the store: it holds over a restart, and ends by signing out, after a week without
use, after a month, and with its key. It is signed with a secret of this store, so that what we never gave is not even
looked up. Pages that are open end with it, within seconds.
"""

from __future__ import annotations

import hmac
import html
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from postil.api import House, Refused, address_of, answer_while_holds, refused, while_holds
from postil.errors import PostilError
from postil.locales import language
from postil.store import Actor, Store, act_as, write_bytes
from postil.web.raters import Raters, refusal_page
from postil.web.sockets import is_owner, is_page

if TYPE_CHECKING:
    from postil.store.tables import Key

ROOT = "/studio"
COOKIE = "postil_session"
MONTH = 30 * 24 * 3600
RATING = f"{ROOT}/rate/"
OPEN = (f"{ROOT}/login", RATING, f"{ROOT}/_nicegui/", f"{ROOT}/favicon.ico")
CLOSE = {"type": "websocket.close", "code": 1008}
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
FULL = 1013  # why a socket is closed: there is no place for it


class Sessions:
    """Who has signed in. `token`: opens the door from this start of the server on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.secret = _secret(store.directory / "pages.secret")
        self._signer = TimestampSigner(self.secret, salt="pages")
        self.token = secrets.token_urlsafe(32)

    def open_link(self, token: str) -> Key | None:
        """The key that the printed link opens. No API key: another site could lead people in with one of its own."""
        ours = hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())
        return self._store.keys.of_pages() if ours else None

    def open_with(self, given: str) -> Key | None:
        """The key that a link's token or an API key opens, if it opens one."""
        key = self._store.keys.check(given)  # always, so that it takes the same time
        if hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            return self._store.keys.of_pages()
        return key

    def open(self, key: Key, address: str) -> str:
        """A new session's cookie."""
        return self._signer.sign(self._store.sessions.open(key, address)).decode()

    def refuse(self, given: str, address: str) -> None:
        """Write down that somebody did not get in; what they tried is not kept."""
        act_as(Actor("-", "-", self._store.keys.project_of(given), address))
        self._store.audit.note("sign_in_refused", "-")

    def key(self, cookie: str | None) -> Key | None:
        """Whose session this is, unless it has ended."""
        session = self._unsigned(cookie)
        return self._store.sessions.key(session) if session else None

    def holds(self, cookie: str | None) -> bool:
        """Whether this session has not ended."""
        return self.key(cookie) is not None

    def end(self, cookie: str | None, address: str) -> None:
        """Sign out, on the server."""
        session = self._unsigned(cookie)
        if session:
            self._store.sessions.end(session, address)

    def _unsigned(self, cookie: str | None) -> str:
        try:
            return self._signer.unsign(cookie or "", max_age=MONTH).decode()
        except BadSignature:
            return ""


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
        cookie = connection.cookies.get(COOKIE)
        key = await self._house.lanes.run("keys", address_of(scope), self._sessions.key, cookie) if cookie else None
        scope.setdefault("state", {})["key"] = key
        if key is not None:
            act_as(Actor(key.id, key.name, key.project, address_of(scope)))
        if scope["type"] == "websocket":
            await self._socket(key, connection, receive, send)
            return
        if scope["path"].startswith(OF_VISITORS) and key and not is_owner(scope["path"].split("/")[4], key):
            await refused("unknown_url", method=scope["method"][:20], path="").response()(scope, receive, send)
            return
        if key is None and not _is_open(scope["path"]):
            await _to_the_door(connection)(scope, receive, send)
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
        dressed = _dressed({**SAFE, **more}, send)
        if key is None:
            await self._app(scope, receive, dressed)
        else:
            out = RedirectResponse(f"{ROOT}/login", 303)
            await answer_while_holds(self._holds(cookie), self._app, scope, receive, dressed, out)

    async def _socket(self, key: Key | None, connection: HTTPConnection, receive: Receive, send: Send) -> None:
        """The socket of a page, while there is room for it and whoever opened it may have it."""
        rater = None if key else await self._raters.known(connection)
        address = address_of(connection)
        # whose session has ended may knock for a page that is still open: it is told to load itself again
        who = key.id if key else rater or (address if is_page(connection.url.query) else None)
        if who is None:
            await receive()
            await send(CLOSE)
            return
        holds = self._holds(connection.cookies.get(COOKIE)) if key else self._raters.holds(rater) if rater else None
        async with AsyncExitStack() as places:
            try:
                await places.enter_async_context(self._house.streams.open("sockets", who, address))
            except Refused as refusal:
                await receive()
                await send({"type": "websocket.accept"})
                await send({"type": "websocket.close", "code": FULL, "reason": _reason(refusal)})
                return
            served = self._app(connection.scope, receive, send)
            if holds is None:
                await served
            elif not await while_holds(holds, served):
                await send(CLOSE)

    def _holds(self, cookie: str | None) -> Callable[[], Awaitable[bool]]:
        return partial(self._house.standing.holds, str(cookie), partial(self._sessions.holds, cookie))


def _reason(refusal: Refused) -> str:
    """Why a socket is closed, in the 123 bytes that there are for it."""
    return refusal.error.cause(language()).encode()[:123].decode("utf-8", "ignore")


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
