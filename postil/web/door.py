"""The door: a plain form, no script."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from postil.api import House, address_of
from postil.errors import StoreError
from postil.locales import language, say
from postil.web.attempts import WAIT_SECONDS, Attempts
from postil.web.session import COOKIE, MONTH, ROOT, Sessions, onward

if TYPE_CHECKING:
    from postil.store.tables import Key

NO_ICON = '<link rel="icon" href="data:,">'
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.6 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; margin: 0;
  display: grid; min-height: 100vh; place-items: center;
  background: light-dark(#faf8f4, #171513); color: light-dark(#211d19, #f1ece4); }
main { max-width: 26rem; padding: 2rem 1.2rem; }
h1 { border-left: 4px solid #b3261e; padding-left: .6rem; font-size: 1.4rem; }
input, button { font: inherit; padding: .55rem .8rem; border-radius: 8px; border: 1px solid #8a8178; width: 100%;
  box-sizing: border-box; }
button { background: #b3261e; color: #fff; border: 0; font-weight: 650; margin-top: .8rem; }
.bad { color: light-dark(#b3261e, #ff8a80); }
"""


def routes(sessions: Sessions, attempts: Attempts, house: House) -> APIRouter:
    """Sign in, sign out."""
    router = APIRouter(prefix=ROOT, include_in_schema=False)

    @router.get("/login")
    async def door(request: Request, token: str = "", next: str = "") -> Response:
        if token:
            return await _let_in(request, token, next, sessions.open_link)
        return HTMLResponse(_form(next))

    @router.post("/login")
    async def knock(
        request: Request, given: str = Form("", max_length=400), next: str = Form("", max_length=2000)
    ) -> Response:
        return await _let_in(request, given.strip(), next, sessions.open_with)

    @router.post("/logout")
    async def leave(request: Request) -> Response:
        await house.lanes.run("keys", "", sessions.end, request.cookies.get(COOKIE), address_of(request))
        gone = RedirectResponse(f"{ROOT}/login", 303)
        gone.delete_cookie(COOKIE, path=ROOT)
        return gone

    async def _let_in(request: Request, given: str, wanted: str, opens: Callable[[str], Key | None]) -> Response:
        address = address_of(request)
        if not attempts.may_try(address):
            wait = {"retry-after": str(WAIT_SECONDS)}
            return HTMLResponse(_form(wanted, say("web.login.wait", seconds=WAIT_SECONDS)), 429, wait)
        key = await house.lanes.run("keys", address, opens, given)
        if key is None:
            attempts.failed(address)
            await house.lanes.run("keys", address, sessions.refuse, given, address)
            return HTMLResponse(_form(wanted, say("web.login.wrong")), 401)
        attempts.passed(address)
        try:
            cookie = await house.lanes.run("keys", address, sessions.open, key, address)
        except StoreError:  # revoked or rotated in that moment
            return HTMLResponse(_form(wanted, say("web.login.wrong")), 401)
        answer = onward(_within(wanted))  # a redirect would not carry the new cookie of one who came from elsewhere
        answer.set_cookie(COOKIE, cookie, max_age=MONTH, path=ROOT, httponly=True, samesite="strict")
        return answer

    return router


def _within(wanted: str) -> str:
    """Where to go on: only a path of these pages."""
    parts = urlsplit(wanted)
    inside = not parts.scheme and not parts.netloc and parts.path.startswith(f"{ROOT}/")
    inside = inside and "\\" not in wanted and ".." not in parts.path
    return wanted if inside else f"{ROOT}/"


def _form(wanted: str, wrong: str = "") -> str:
    words = {name: html.escape(say(f"web.login.{name}")) for name in ("title", "lead", "label", "enter")}
    problem = f'<p class="bad" role="alert">{html.escape(wrong)}</p>' if wrong else ""
    return (
        f'<!doctype html><html lang="{language()}"><meta charset="utf-8">{NO_ICON}<title>Postil 批注</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><main><h1>{words["title"]}</h1>'
        f'<p>{words["lead"]}</p>{problem}<form method="post" action="{ROOT}/login">'
        f'<input type="hidden" name="next" value="{html.escape(wanted, quote=True)}">'
        f'<label for="given">{words["label"]}</label><input id="given" name="given" type="password" autofocus required '
        f'autocomplete="current-password"><button>{words["enter"]}</button></form></main></html>'
    )
