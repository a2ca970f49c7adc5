"""A rater's page is looked up before it is built; the socket of a page is bounded, and opened by who is known alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from postil.api import House, Lanes
from postil.api import rate as links
from postil.api.lanes import LANES, Lane
from postil.locales import speak
from postil.store import LOCAL, Store
from postil.web.raters import COOKIE
from postil.web.session import CLOSE, FULL, Sessions, SignIn

ROWS = [{"row": 0, "question": "?", "reference": "", "base": "a", "tuned": "b"}]


class Door:
    """SignIn before an application that writes down what reaches it."""

    def __init__(self, directory: Path) -> None:
        self.store = Store(directory)
        nothing = cast("Any", None)
        self.house = House(self.store, nothing, nothing, nothing, nothing)
        self.built: list[str] = []
        self.go_on = asyncio.Event()
        sessions = Sessions(self.store)
        self.door = SignIn(self._app, sessions, self.house)
        self.session = sessions.open(self.store.keys.of_pages(), "127.0.0.1")
        ballot = self.store.ballots.create(LOCAL, "售后", "?", "evaljob-1", "ft:x", ROWS)
        self.rater, self.token = self.store.ballots.invite(LOCAL, ballot.id, "张三")

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.built.append(scope["path"])
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"built"})
            return
        await send({"type": "websocket.accept"})
        await self.go_on.wait()
        await send({"type": "websocket.close", "code": 1000})

    async def get(self, path: str, cookie: str = "") -> tuple[int, dict[str, str], str]:
        messages = await self._asked("http", path, cookie)
        headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        return messages[0]["status"], headers, b"".join(one.get("body", b"") for one in messages).decode()

    async def socket(self, cookie: str) -> list[Any]:
        """What the server sends on a socket, until it closes it."""
        return await self._asked("websocket", "/studio/_nicegui_ws/socket.io/", cookie)

    async def _asked(self, kind: str, path: str, cookie: str) -> list[Any]:
        messages: list[Any] = []

        async def receive() -> Any:
            return {"type": f"{kind}.connect" if kind == "websocket" else "http.request", "body": b""}

        async def send(message: Any) -> None:
            messages.append(message)

        headers = [(b"cookie", cookie.encode())] if cookie else []
        scope = {"type": kind, "path": path, "headers": headers, "client": ("127.0.0.1", 1), "query_string": b"",
                 "method": "GET", "state": {}}  # fmt: skip
        await self.door(scope, receive, send)
        return messages


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    speak("en")
    made = Door(tmp_path / "data")
    yield made
    made.store.close()


def test_attack_30_an_unknown_link_costs_no_page(door: Door) -> None:
    async def knock() -> None:
        for token in ("x", "../..", "a" * 40, door.token[:-1], "", "%00", "é"):
            status, headers, page = await door.get(f"/studio/rate/{token}")
            assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8"), token
            assert "set-cookie" not in headers and "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "Ask" in page and "<script" not in page
        assert not door.built

    asyncio.run(knock())


def test_attack_30_unknown_links_are_paced_and_a_known_one_still_opens(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(links, "WRONG_PER_MINUTE", 3)

    async def knock() -> None:
        statuses = [(await door.get("/studio/rate/wrong"))[0] for _ in range(6)]
        assert statuses[:3] == [404] * 3 and 429 in statuses
        assert (await door.get(f"/studio/rate/{door.token}"))[0] == 200
        assert door.built == [f"/studio/rate/{door.token}"]

    asyncio.run(knock())


def test_attack_29_30_a_rater_has_a_cookie_that_nobody_can_make(door: Door) -> None:
    async def knock() -> None:
        _, headers, _ = await door.get(f"/studio/rate/{door.token}")
        said = headers["set-cookie"]
        assert "HttpOnly" in said and "SameSite=strict" in said
        cookie = said.partition(";")[0]
        door.go_on.set()
        assert [one["type"] for one in await door.socket(cookie)] == ["websocket.accept", "websocket.close"]
        forged = ("", f"{COOKIE}=1", f"{COOKIE}={door.rater.id}", f"{cookie}x", f"{COOKIE}={door.session}",
                  cookie.replace(COOKIE, "postil_session"))  # fmt: skip
        for one in forged:
            assert await door.socket(one) == [CLOSE], one
        assert (await door.get("/studio/jobs", cookie))[0] == 303
        door.store.ballots.dismiss(LOCAL, door.rater.id)
        assert await door.socket(cookie) == [CLOSE]

    asyncio.run(knock())


def test_attack_30_sockets_of_one_person_are_bounded_and_say_why(door: Door) -> None:
    door.house.lanes = Lanes({**LANES, "sockets": Lane(20, 3, 0, 0, threads=False)})

    async def knock() -> None:
        cookie = f"postil_session={door.session}"
        pages = [asyncio.create_task(door.socket(cookie)) for _ in range(3)]
        await until(lambda: len(door.built) == 3)
        accepted, closed = await door.socket(cookie)
        assert (accepted["type"], closed["code"]) == ("websocket.accept", FULL)
        assert closed["reason"] and len(closed["reason"].encode()) <= 123
        rater = (await door.get(f"/studio/rate/{door.token}"))[1]["set-cookie"].partition(";")[0]
        door.go_on.set()
        assert (await door.socket(rater))[-1]["code"] == 1000
        await asyncio.gather(*pages)
        assert (await door.socket(cookie))[-1]["code"] == 1000

    asyncio.run(knock())


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)
