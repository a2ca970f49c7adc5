"""Keys over HTTP: made, seen once, rotated, revoked; and what they have opened ends with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from postil.api import standing
from tests.api.served import BASE, Served, refused, upload

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "LOOK_SECONDS", 0.05)


def test_a_key_is_shown_once_rotated_and_revoked(server: Served, http: httpx.Client) -> None:
    made = http.post("/postil/keys", json={"name": "bot", "scopes": ["serve"], "tokens_per_day": 50}).json()
    assert made["secret"].startswith("sk-postil-") and made["made_by"] and made["tokens_today"] == 0
    rotated = http.post(f"/postil/keys/{made['id']}/rotate").json()
    assert rotated["id"] == made["id"] and rotated["secret"] != made["secret"] and rotated["rotated_at"]
    with server.http(made["secret"]) as old, server.http(rotated["secret"]) as new:
        refused(old.get("/models"), 401, "invalid_api_key")
        assert new.get("/models").status_code == 200
        assert http.delete(f"/postil/keys/{made['id']}").json()["revoked_at"]
        refused(new.get("/models"), 401, "invalid_api_key")
    refused(http.post(f"/postil/keys/{made['id']}/rotate"), 400, "key_revoked")
    assert all(key["secret"] is None for key in http.get("/postil/keys").json()["data"])


def test_another_project_s_key_is_neither_rotated_nor_revoked(server: Served, http: httpx.Client) -> None:
    other, _ = server.store.keys.create("proj_elsewhere", "k", ["read"])
    refused(http.post(f"/postil/keys/{other.id}/rotate"), 404)
    refused(http.delete(f"/postil/keys/{other.id}"), 404)
    assert server.store.keys.holds(other)


class Watcher:
    """Somebody who reads a stream until it ends, on a thread."""

    def __init__(self, client: httpx.Client, method: str, path: str, body: Any = None) -> None:
        self.text, self.ended, self.begun = "", threading.Event(), threading.Event()
        self._told = (client, method, path, body)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        client, method, path, body = self._told
        with client.stream(method, path, json=body) as answer:
            for piece in answer.iter_text():
                self.text += piece
                self.begun.set()
        self.ended.set()


@pytest.fixture
def patient(server: Served) -> Iterator[threading.Event]:
    """Answers go on until this is set."""
    go = threading.Event()
    said: list[int] = []

    def gate(request: Any) -> None:
        said.append(1)
        if len(said) > 3:
            go.wait(20)

    server.says, server.gate = (lambda request: "word " * 50), gate
    yield go
    go.set()


@pytest.mark.parametrize("act", ["revoke", "rotate"])
def test_attack_29_open_streams_end_with_their_key(server: Served, patient: threading.Event, act: str) -> None:
    """A chat and a job's live events; those of another key of the project go on."""
    secret = server.key()
    project = server.project(secret)
    other = server.key(project=project)
    found = server.store.keys.check(secret)
    assert found is not None
    with server.http(secret) as client, server.http(other) as beside:
        job = client.post("/fine_tuning/jobs", json={"model": BASE, "training_file": upload(client)}).json()["id"]
        watchers = [Watcher(client, "POST", "/chat/completions", {"model": BASE, "messages": HI, "stream": True}),
                    Watcher(client, "GET", f"/postil/jobs/{job}/live")]  # fmt: skip
        neighbour = Watcher(beside, "GET", f"/postil/jobs/{job}/live")
        assert all(watcher.begun.wait(20) for watcher in (*watchers, neighbour))
        getattr(server.store.keys, act)(found.id)
        for watcher in watchers:
            assert watcher.ended.wait(20)
            assert '"code":"key_ended"' in watcher.text and "[DONE]" not in watcher.text
        assert not neighbour.ended.is_set()
        server.store.keys.revoke(server.store.keys.check(other).id)  # type: ignore[union-attr]
        assert neighbour.ended.wait(20)
    engine = server.engines[-1]
    patient.set()
    until = time.monotonic() + 20
    while engine.health().running and time.monotonic() < until:
        threading.Event().wait(0.02)
    assert not engine.health().running


def test_attack_29_a_whole_answer_is_refused_when_its_key_ends(server: Served, patient: threading.Event) -> None:
    secret = server.key()
    with server.http(secret) as client:
        answers: list[httpx.Response] = []
        body = {"model": BASE, "messages": HI}
        asking = threading.Thread(target=lambda: answers.append(client.post("/chat/completions", json=body)))
        asking.start()
        while not (server.engines and server.engines[-1].health().running):
            threading.Event().wait(0.02)
        server.store.keys.revoke(server.store.keys.check(secret).id)  # type: ignore[union-attr]
        asking.join(20)
        refused(answers[0], 401, "key_ended")


def test_a_database_that_is_away_for_a_moment_ends_no_stream() -> None:
    import asyncio

    from postil.api.lanes import Lanes
    from postil.api.standing import Standing
    from postil.errors import StoreError

    def away() -> bool:
        raise StoreError("database_busy")

    async def look() -> list[bool]:
        at = [0.0]
        held = Standing(Lanes(), lambda: at[0])
        seen = [await held.holds("k", away)]
        at[0] = 100.0
        seen.append(await held.holds("k", lambda: False))
        at[0] = 200.0
        return [*seen, await held.holds("k", lambda: True)]

    assert asyncio.run(look()) == [True, False, False]


def test_many_streams_of_a_key_look_together() -> None:
    import asyncio

    from postil.api.lanes import Lanes
    from postil.api.standing import Standing

    looks: list[int] = []

    def look() -> bool:
        looks.append(1)
        return True

    async def many() -> None:
        held = Standing(Lanes(), lambda: 0.0)
        await asyncio.gather(*(held.holds("k", look) for _ in range(200)))

    asyncio.run(many())
    assert len(looks) == 1
