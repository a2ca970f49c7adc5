"""What a supervisor asks: is the process there, can it do its work; cheaply, and without telling anything."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from postil.api import ready
from postil.api.ready import FAILED_SECONDS, EnginesWork, Readiness
from postil.errors import StoreError
from postil.jobs import Watch
from postil.jobs import watch as watching
from postil.store import Store
from tests.api.served import Served, served, upload

PARTS = {"database", "disk", "watch", "engine"}


@pytest.fixture
def alone(home: Path, tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, home) as server:
        yield server


def asked(server: Served, path: str = "/readyz") -> httpx.Response:
    return httpx.get(server.url + path, headers={"host": "10.1.2.3:8000"})  # as supervisors do, by number


def test_they_need_no_key_and_no_name(server: Served) -> None:
    assert (asked(server, "/livez").status_code, asked(server, "/livez").json()) == (200, {"status": "ok"})
    answer = asked(server)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "parts": dict.fromkeys(PARTS, "ok")})
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"


def test_a_database_or_a_disk_that_is_gone_is_named_and_nothing_else(
    alone: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(ready, "LEAST_FREE_BYTES", 1 << 60)
    answer = asked(alone)
    assert (answer.status_code, answer.json()["parts"]["disk"], answer.json()["status"]) == (503, "failed", "failed")
    monkeypatch.setattr(ready, "LEAST_FREE_BYTES", 1)
    alone.store.database.reader.dispose()

    def away() -> None:
        raise StoreError("database_unreachable", detail="postgresql://ada:tr0ub4dor@db.example")

    monkeypatch.setattr(alone.store.database, "read", away)
    answer = asked(alone)
    assert (answer.status_code, answer.json()["parts"]) == (503, {**dict.fromkeys(PARTS, "ok"), "database": "failed"})
    assert "tr0ub4dor" not in answer.text and str(alone.store.directory) not in answer.text
    assert answer.headers["retry-after"] == "5"
    assert asked(alone, "/livez").status_code == 200, "the process is there all the same"
    assert httpx.get(f"{alone.url}/health").status_code == 200


def test_a_look_is_kept_for_a_second() -> None:
    now, looks = [0.0], [0]

    def part() -> bool:
        looks[0] += 1
        return looks[0] < 3

    readiness = Readiness({"part": part}, lambda: now[0])
    assert [readiness.look().status for _ in range(50)] == ["ok"] * 50 and looks[0] == 1
    now[0] = 1.1
    assert readiness.look().status == "ok" and looks[0] == 2
    now[0] = 2.2
    assert readiness.look().model_dump() == {"status": "failed", "parts": {"part": "failed"}}


def test_a_part_that_hangs_is_told_and_costs_one_thread(alone: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "CHECK_SECONDS", 0.2)
    goes_on = threading.Event()

    def hangs(store: Any) -> bool:
        return goes_on.wait(60)

    monkeypatch.setattr("postil.api.app.database_answers", hangs)
    before = threading.active_count()
    answers = [asked(alone) for _ in range(4)]
    more = threading.active_count() - before
    goes_on.set()
    assert {answer.status_code for answer in answers} == {503} and more <= 2
    assert answers[0].json()["status"] == "failed"


def test_it_answers_while_every_thread_is_busy(alone: Served) -> None:
    goes_on = threading.Event()
    alone.house.ask = lambda arguments, seconds: {"examples": int(goes_on.wait(60))}
    key = alone.key()
    with alone.http(key) as http:
        file = upload(http, purpose="user_data")
    crowd = [
        threading.Thread(target=lambda: alone.http(key).post("/postil/check", json={"file": file})) for _ in range(45)
    ]
    for one in crowd:
        one.start()
    try:
        answers = [asked(alone).status_code for _ in range(3)] + [asked(alone, "/livez").status_code]
    finally:
        goes_on.set()
        for one in crowd:
            one.join()
    assert answers == [200] * 4


class Engine:
    """An engine of which only one thing is asked here."""

    def __init__(self) -> None:
        self.lost = False

    def failed(self) -> bool:
        return self.lost


def test_an_engine_that_was_lost_is_told_for_a_while() -> None:
    now, engine = [0.0], Engine()
    works = EnginesWork(lambda: [engine], lambda: now[0])  # type: ignore[list-item]
    assert works()
    engine.lost = True
    assert not works()
    now[0] = FAILED_SECONDS + 1
    assert works(), "whoever is told that it failed sends nobody, and it starts when somebody comes"
    engine.lost = False
    assert works()
    engine.lost = True
    assert not works()


def test_a_watch_whose_thread_died_or_hangs_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    watch = Watch(store, measure=False)
    assert not watch.alive()
    watch.start()
    until = time.monotonic() + 20
    while not watch.alive() and time.monotonic() < until:
        threading.Event().wait(0.01)
    assert watch.alive()
    monkeypatch.setattr(watching, "STALLED_SECONDS", 0.0)
    assert not watch.alive()
    monkeypatch.undo()
    watch.stop(grace=0)
    assert not watch.alive()
    store.close()
