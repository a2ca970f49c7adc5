"""Raters at their page: looked up before anything is built for them, and known again by a signed cookie."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from functools import partial

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response

from postil.api import House, Link, Refused, address_of, opened
from postil.errors import PostilError
from postil.locales import knows, language, say

COOKIE = "postil_rater"  # with which the socket of a page of votes is let in
SECONDS = 24 * 3600
STYLE = """body { font: 16px/1.6 system-ui, sans-serif; margin: 4rem auto; max-width: 26rem; padding: 0 1.2rem;
  color-scheme: light dark; background: light-dark(#faf8f4, #171513); color: light-dark(#211d19, #f1ece4); }"""


class Raters:
    """Whose link opens what. `secret`: of this store, to sign with."""

    def __init__(self, house: House, secret: bytes) -> None:
        self._house = house
        self._signer = TimestampSigner(secret, salt="raters")

    async def look_up(self, token: str, connection: HTTPConnection) -> Link:
        """What a link opens, at the pace of its JSON routes. Raises StoreError `rater_not_found`, Refused."""
        return await self._house.lanes.run("keys", address_of(connection), opened, token, self._house)

    def cookie(self, rater: str, path: str) -> bytes:
        """The header that lets this rater's browser open the socket of the page."""
        signed = self._signer.sign(rater).decode()
        return f"{COOKIE}={signed}; HttpOnly; Max-Age={SECONDS}; Path={path}; SameSite=strict".encode()

    async def known(self, connection: HTTPConnection) -> str | None:
        """The rater whose cookie this is, unless it is too old or they were dismissed."""
        try:
            rater = self._signer.unsign(connection.cookies.get(COOKIE, ""), max_age=SECONDS).decode()
        except BadSignature:
            return None
        knows_rater = self._house.store.ballots.knows
        return rater if await self._house.lanes.run("keys", address_of(connection), knows_rater, rater) else None

    def holds(self, rater: str) -> Callable[[], Awaitable[bool]]:
        """Whether this rater is still one, for whoever serves them for long."""
        return partial(self._house.standing.holds, rater, partial(self._house.store.ballots.knows, rater))


def refusal_page(error: PostilError | Refused) -> Response:
    """Why there is no page, as a page that costs nothing."""
    refusal = error if isinstance(error, Refused) else Refused(error)
    cause, code, lang = refusal.error.cause(language()), refusal.error.code, language()
    remedy = say(f"web.error.{code}.remedy") if knows(f"web.error.{code}.remedy") else refusal.error.remedy(lang)
    words = "".join(f"<p>{html.escape(line)}</p>" for line in (cause, remedy))
    page = (f'<!doctype html><html lang="{lang}"><meta charset="utf-8"><title>Postil 批注</title><style>{STYLE}</style>'
            f'<meta name="viewport" content="width=device-width"><main role="alert">{words}</main></html>')  # fmt: skip
    return HTMLResponse(page, refusal.status, refusal.headers)
