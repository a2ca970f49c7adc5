"""The door without a browser: attempts are paced, sessions end on the server, and the audit knows who came and took."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from postil.api import standing
from postil.api.app import HANDLERS
from postil.api.house import House
from postil.api.rate_limits import RateLimits
from postil.jobs import Queue
from postil.store import LOCAL, Store
from postil.store import keys as key_room
from postil.store.models import add as add_model
from postil.web.attempts import OF_ADDRESS, OF_ALL, WAIT_SECONDS, Attempts
from postil.web.carry import routes as carried
from postil.web.desk import Desk
from postil.web.door import routes as door
from postil.web.session import COOKIE, Sessions, SignIn


def _nobody(*_: Any) -> Any:
    raise AssertionError("nothing is asked here")


class Door:
    """The routes of door and bytes behind SignIn, with a clock of their own."""

    def __init__(self, directory: Path) -> None:
        self.at = 1000.0
        self.store = Store(directory)
        self.house = House(self.store, Queue(self.store), _nobody, _nobody, _nobody,
                           rate_limits=RateLimits(lambda: self.at))  # fmt: skip
        self.sessions = Sessions(self.store)
        self.attempts = Attempts(self.house.rate_limits)
        self.app = FastAPI()
        self.app.state.house = self.house
        for kind, handler in HANDLERS.items():
            self.app.add_exception_handler(kind, handler)
        self.routers = (door(self.sessions, self.attempts, self.house), carried(self.house))
        for router in self.routers:
            self.app.include_router(router)
        self.app.add_api_websocket_route("/studio/socket", self._socket)
        self.app.add_middleware(SignIn, sessions=self.sessions, house=self.house)
        self.key, self.secret = self.store.keys.create(LOCAL, "Ann", ["read", "train"])

    def come(self, address: str = "10.0.0.1") -> TestClient:
        return TestClient(self.app, base_url="http://studio", follow_redirects=False, client=(address, 1))

    def enter(self, address: str = "10.0.0.1") -> TestClient:
        client = self.come(address)
        assert self.knock(client, self.secret) == 200
        return client

    def knock(self, client: TestClient, secret: str) -> int:
        return client.post("/studio/login", data={"given": secret}).status_code

    def acts(self) -> list[str]:
        return [line.act for line in self.store.audit.list(LOCAL, limit=100).rows if line.key_id == self.key.id]

    def socket(self, client: TestClient) -> Any:
        """A page's socket; the test client keeps cookies for pages alone."""
        return client.websocket_connect("/studio/socket", headers={"cookie": f"{COOKIE}={client.cookies[COOKIE]}"})

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        with suppress(WebSocketDisconnect):  # who is at it may go first
            await socket.receive_text()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path / "studio")
    yield made
    made.store.close()


# ── guessing ──


def test_attack_29_an_address_that_guesses_is_let_try_ten_times_a_minute(house: Door) -> None:
    guesser = house.come()
    assert [house.knock(guesser, f"sk-postil-x-{i}") for i in range(OF_ADDRESS + 2)] == [401] * OF_ADDRESS + [429] * 2
    answer = guesser.post("/studio/login", data={"given": house.secret})
    assert answer.status_code == 429 and answer.headers["retry-after"] == str(WAIT_SECONDS)
    assert not guesser.cookies
    house.at += WAIT_SECONDS
    assert house.knock(guesser, house.secret) == 200


def test_attack_29_a_link_is_a_secret_like_any_other(house: Door) -> None:
    guesser = house.come()
    answers = [guesser.get("/studio/login", params={"token": f"x{i}"}).status_code for i in range(OF_ADDRESS + 1)]
    assert answers == [401] * OF_ADDRESS + [429]
    assert guesser.get("/studio/login").status_code == 200
    assert house.come("10.0.0.2").get("/studio/login", params={"token": house.sessions.token}).status_code == 200


def test_attack_29_neighbours_behind_one_address_do_not_lock_each_other_out(house: Door) -> None:
    assert [house.knock(house.come(), house.secret) for _ in range(3 * OF_ADDRESS)] == [200] * 3 * OF_ADDRESS


def test_attack_29_many_addresses_are_paced_together_and_a_new_one_still_gets_in(house: Door) -> None:
    guessers = [house.come(f"10.0.1.{i}") for i in range(1, 40)]
    for client in guessers:
        house.knock(client, "wrong")
    tried = [house.knock(client, "wrong") for client in guessers for _ in range(OF_ADDRESS - 1)]
    assert tried.count(401) == OF_ALL
    assert house.knock(house.come("10.0.9.9"), house.secret) == 200


def test_attack_29_addresses_of_one_ipv6_network_are_one(house: Door) -> None:
    tried = [house.knock(house.come(f"2001:db8::{i:x}"), "wrong") for i in range(1, OF_ADDRESS + 2)]
    assert tried == [401] * OF_ADDRESS + [429]
    assert house.knock(house.come("2001:db8:0:1::1"), house.secret) == 200
    assert house.knock(house.come("::ffff:10.0.0.1"), house.secret) == 200


def test_attack_29_a_wrong_secret_costs_the_same_work_whatever_is_wrong_with_it(
    house: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.store.keys.of_pages()
    digested: list[str] = []
    real = key_room._digest
    monkeypatch.setattr(key_room, "_digest", lambda salt, secret: digested.append(secret) or real(salt, secret))
    wrong = house.secret.rpartition("-")[0] + "-" + "0" * 64
    for given in (house.secret, wrong, "sk-postil-aaaaaaaaaaaa-" + "0" * 64, house.sessions.token):
        house.sessions.open_with(given)
    assert len(digested) == 4


# ── sessions ──


def test_attack_29_signing_out_ends_the_session_wherever_its_cookie_lies(house: Door) -> None:
    client = house.enter()
    cookie = client.cookies[COOKIE]
    thief, other = house.come("10.0.0.3"), house.enter("10.0.0.4")
    thief.cookies.set(COOKIE, cookie)
    assert thief.get("/studio/files/file-x/content").status_code != 303
    assert client.post("/studio/logout").status_code == 303
    assert thief.get("/studio/files/file-x/content").status_code == 303
    assert other.get("/studio/files/file-x/content").status_code != 303
    assert house.acts() == ["signed_out", "signed_in", "signed_in"]


def test_attack_29_a_cookie_of_the_landed_version_opens_nothing(house: Door) -> None:
    """It named the key itself, and could not be taken back."""
    client = house.come()
    client.cookies.set(COOKIE, house.sessions._signer.sign(house.key.id).decode())
    assert client.get("/studio/files/file-x/content").status_code == 303


@pytest.mark.parametrize("act", ["sign out", "revoke", "rotate"])
def test_attack_29_a_page_s_socket_ends_with_its_session(
    house: Door, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    monkeypatch.setattr(standing, "LOOK_SECONDS", 0.05)
    client = house.enter()
    with house.socket(house.enter("10.0.0.5")) as beside:
        with house.socket(client) as socket:
            assert socket.receive_text() == beside.receive_text() == "hello"
            if act == "sign out":
                copy = house.come()
                copy.cookies.set(COOKIE, client.cookies[COOKIE])
                copy.post("/studio/logout")
            else:
                getattr(house.store.keys, act)(house.key.id)
            with pytest.raises(WebSocketDisconnect) as ended:
                socket.receive_text()
            assert ended.value.code == 1008
        if act == "sign out":
            beside.send_text("still here")
    with pytest.raises(WebSocketDisconnect), house.socket(client):
        pass


# ── the audit ──


def test_who_is_not_let_in_is_written_down_without_what_they_tried(house: Door) -> None:
    """In the project of the key that was named, so that whoever looks after it sees it."""
    _, secret = house.store.keys.create("proj_other", "k", ["read"])
    client = house.come("10.0.0.8")
    tried = [secret[:-1] + ("0" if secret[-1] != "0" else "1"), "hunter2", "hunter2"]
    assert [house.knock(client, given) for given in tried] == [401] * 3
    lines = house.store.audit.list(act="sign_in_refused").rows
    assert [(line.project, line.times, line.address) for line in lines] == [
        (LOCAL, 2, "10.0.0.8"), ("proj_other", 1, "10.0.0.8"),
    ]  # fmt: skip
    assert "hunter2" not in repr([vars(line) for line in lines])


def _model(house: Door) -> str:
    place = house.store.directory / "adapters" / "a"
    place.mkdir(parents=True, exist_ok=True)
    (place / "adapter_config.json").write_text("{}")
    with house.store.database.write() as session:
        add_model(session, project=LOCAL, name="ft:b:local::x", base="b", base_sha256="0", adapter_sha256="1",
                  directory="adapters/a")  # fmt: skip
    return "ft:b:local::x"


def _file(client: TestClient) -> str:
    return str(client.post("/studio/upload", files={"file": ("a.csv", b"a,b\n1,2\n")}).json()["id"])


def _marked(house: Door, client: TestClient) -> int:
    def ask(arguments: Any, seconds: float) -> Any:
        report = next(one.removeprefix("--report=") for one in arguments if one.startswith("--report="))
        Path(report).write_bytes(b"PK")

    house.house.ask = ask
    row = house.store.datasets.create(LOCAL, "d", _file(client), {})
    return client.get(f"/studio/data/{row.id}/marked.xlsx").status_code


AUDITED: dict[str, tuple[str, Any]] = {
    "POST /studio/login": ("signed_in", lambda house, client: 200),
    "POST /studio/logout": ("signed_out", lambda house, client: client.post("/studio/logout").status_code),
    "POST /studio/upload": ("file_added", lambda house, client: 200 if _file(client) else 0),
    "GET /studio/files/{file_id}/content": (
        "downloaded", lambda house, client: client.get(f"/studio/files/{_file(client)}/content").status_code),
    "GET /studio/adapters/{model:path}.zip": (
        "downloaded", lambda house, client: client.get(f"/studio/adapters/{_model(house)}.zip").status_code),
    "GET /studio/data/{dataset_id}/marked.xlsx": ("downloaded", _marked),
}  # fmt: skip
EXCEPTED = {"GET /studio/login": "the form; with a token it signs in, as the other does"}


def test_every_route_of_the_pages_is_audited_or_excepted(house: Door) -> None:
    found = {
        f"{method} {route.path}" for router in house.routers for route in router.routes  # type: ignore[attr-defined]
        for method in route.methods  # type: ignore[attr-defined]
    }  # fmt: skip
    assert found == AUDITED.keys() | EXCEPTED.keys()


@pytest.mark.parametrize("route", AUDITED)
def test_what_is_done_at_the_pages_is_written_down(house: Door, route: str) -> None:
    act, perform = AUDITED[route]
    client = house.enter()
    assert perform(house, client) in (200, 303)
    assert act in house.acts()
    line = house.store.audit.list(LOCAL, act=act).rows[0]
    assert (line.key_name, line.address) == ("Ann", "10.0.0.1")


def test_what_a_button_does_is_done_by_whose_page_it_is(house: Door) -> None:
    """A page's events come by a socket, in tasks of their own."""
    desk = Desk(house.house, house.key, "en", {}, "/", "10.0.0.6")

    async def press() -> None:
        async with desk.acting("note.write"):
            await desk.do(house.store.lines.set, LOCAL, "shop", "m", house.key.id, "")

    asyncio.run(press())
    line = house.store.audit.list(LOCAL, act="line_set").rows[0]
    assert (line.key_id, line.address) == (house.key.id, "10.0.0.6")
    assert line.object == "shop"
