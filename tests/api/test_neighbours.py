"""A neighbour who asks for much: slow requests, streams, connections. What others ask is answered meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postil.api.broadcast import KEPT_EVENTS, LISTENED_SECONDS, LOOK_SECONDS, Broadcast
from postil.api.lanes import LANES, Lanes
from postil.errors import JobError
from postil.jobs import Order
from postil.jobs.ledger import tell
from postil.store.tables import Job
from tests.api.served import BASE, Served, refused, rows, served, upload

HI = [{"role": "user", "content": "Hi"}]


class Crowd:
    """Many requests of one project that are not answered before `go_on`."""

    def __init__(self, server: Served, key: str) -> None:
        self._server, self._key = server, key
        self.go_on = threading.Event()
        self.statuses: Counter[int] = Counter()
        self._sent = threading.Semaphore(0)
        server.gate = lambda request: None if self.go_on.wait(60) else pytest.fail("nobody went on")
        server.house.ask = self._ask

    def _ask(self, arguments: Any, seconds: float) -> Any:
        self.go_on.wait(60)
        return {"examples": 1, "dropped": []}

    def send(self, count: int) -> None:
        with self._server.http(self._key) as client:
            file = upload(client, purpose="user_data")
        model = self._server.model(self._key)
        orders = [self._order(number, file, model) for number in range(count)]
        self._thread = threading.Thread(target=asyncio.run, args=(self._all(orders),))
        self._thread.start()
        for _ in orders:
            assert self._sent.acquire(timeout=60)

    def _order(self, number: int, file: str, model: str) -> tuple[str, dict[str, Any], dict[str, str]]:
        chat = {"model": BASE, "messages": HI}
        return (
            ("/chat/completions", chat, {"idempotency-key": f"slow-{number}"}),
            ("/postil/comparisons", {"model": model, "question": "Hi"}, {}),
            ("/postil/plan", {"file": file, "base": BASE, "measure": False}, {}),
            ("/chat/completions", chat, {}),
        )[number % 4]

    async def _all(self, orders: list[Any]) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=f"{self._server.url}/v1", timeout=120, limits=limits,
                                     headers={"authorization": f"Bearer {self._key}"}) as client:  # fmt: skip
            await asyncio.gather(*[self._one(client, *order) for order in orders])

    async def _one(self, client: httpx.AsyncClient, path: str, body: Any, headers: dict[str, str]) -> None:
        self._sent.release()
        answer = await client.post(path, json=body, headers=headers)
        self.statuses[answer.status_code] += 1
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) > 0 and answer.json()["error"]["code"] == "too_busy"

    def end(self) -> None:
        self.go_on.set()
        self._thread.join(120)


@contextmanager
def slow_requests(server: Served, key: str, count: int) -> Iterator[Crowd]:
    crowd = Crowd(server, key)
    crowd.send(count)
    try:
        yield crowd
    finally:
        crowd.end()


@pytest.fixture
def alone(home: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("POSTIL_HOME", str(home))
    with served(tmp_path, home) as server:
        yield server


def others_are_answered(server: Served, key: str, times: int) -> None:
    with server.http(key) as client:
        for _ in range(times):
            for path in ("/models", "/files", "/fine_tuning/jobs?limit=20", "/postil/fields"):
                assert client.get(path).status_code == 200
        assert upload(client, rows(1), purpose="user_data")


def test_attack_30_slow_requests_of_one_project_hold_up_no_other(alone: Served) -> None:
    greedy, other = alone.key(), alone.key()
    with slow_requests(alone, greedy, 60) as crowd:
        others_are_answered(alone, other, 2)
        with alone.http(greedy) as client:  # nor its own people's reads
            assert client.get("/models").status_code == 200
    assert crowd.statuses == {200: 60}


@pytest.mark.full
def test_fault_two_hundred_slow_requests_of_one_project_hold_up_no_other(alone: Served) -> None:
    greedy, other = alone.key(), alone.key()
    with slow_requests(alone, greedy, 400) as crowd:
        others_are_answered(alone, other, 25)
    assert set(crowd.statuses) <= {200, 429} and crowd.statuses.total() == 400
    assert crowd.statuses[200] >= 300, crowd.statuses
    others_are_answered(alone, greedy, 2)


def test_a_remembered_chat_is_made_to_its_end_when_its_client_leaves(alone: Served) -> None:
    key, go_on = alone.key(), threading.Event()
    alone.gate = lambda request: None if go_on.wait(30) else pytest.fail()
    body = {"model": BASE, "messages": HI}
    with alone.http(key, **{"idempotency-key": "once"}) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/chat/completions", json=body, timeout=0.5)
        refused(client.post("/chat/completions", json=body), 409, "still_running")
        go_on.set()
        while (answer := client.post("/chat/completions", json=body)).status_code == 409:
            pass
        assert answer.headers["idempotent-replayed"] == "true"
        assert answer.json()["choices"][0]["message"]["content"] == "Hello there"
    assert sum(len(engine.asked) for engine in alone.engines) == 1


def test_attack_30_streams_of_one_key_are_bounded_and_others_have_theirs(alone: Served) -> None:
    greedy, other, most = alone.key(), alone.key(), LANES["streams"].each
    paths = {}
    for key in (greedy, other):
        with alone.http(key) as client:
            job = client.post("/fine_tuning/jobs", json={"model": BASE, "training_file": upload(client)}).json()["id"]
        paths[key] = f"/v1/postil/jobs/{job}/live"
    streams = [listen(alone, greedy, paths[greedy]) for _ in range(most)]
    assert all(b" 200 " in stream.recv(1 << 16) for stream in streams)
    with alone.http(greedy) as client:
        answer = client.get(paths[greedy].removeprefix("/v1"))
        refused(answer, 429, "too_many_open")
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/models").status_code == 200
    another = listen(alone, other, paths[other])
    assert b" 200 " in another.recv(1 << 16)
    streams.pop().close()
    while True:  # its place is free as soon as the server has noticed
        again = listen(alone, greedy, paths[greedy])
        answered = again.recv(1 << 16)
        again.close()
        if b" 200 " in answered:
            break
        assert b" 429 " in answered
    for stream in (*streams, another):
        stream.close()


def listen(server: Served, key: str, path: str) -> socket.socket:
    """A connection on which a stream begins."""
    made = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {key}\r\n\r\n"
    made.sendall(head.encode())
    return made


# ── one reading for all who listen ──


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counted:
    """A queue that counts how often it is read."""

    def __init__(self, server: Served) -> None:
        self._queue, self.reads, self.behind = server.queue, 0, 0

    def news(self, after: Any) -> Any:
        self.reads += 1
        return self._queue.news(after)

    def events_since(self, project: str, job_id: str, number: int) -> Any:
        self.behind += 1
        return self._queue.events_since(project, job_id, number)


def a_job(server: Served, key: str) -> Job:
    with server.http(key) as client:
        file = upload(client, purpose="user_data")
    return server.queue.create(server.project(key), Order(kind="training", model=BASE, training_file=file))


def speak(server: Served, job: Job, count: int) -> None:
    with server.store.database.write() as session:
        row = session.get_one(Job, job.seq)
        for number in range(count):
            tell(session, row, f"word {number}")


def test_attack_30_a_job_is_read_once_for_all_who_listen(server: Served, key: str) -> None:
    job, clock, queue = a_job(server, key), Clock(), Counted(server)
    project = job.project
    broadcast = Broadcast(queue, Lanes(), clock)

    async def crowd() -> None:
        async def all_ask(seen: int) -> list[int]:
            answers = await asyncio.gather(*[broadcast.news(project, job.id, seen) for _ in range(200)])
            return [len(events) for _, events in answers]

        first = (await broadcast.news(project, job.id, 0))[0].events
        await all_ask(first)
        assert queue.reads == 1
        speak(server, job, 3)
        assert await all_ask(first) == [0] * 200
        clock.now += LOOK_SECONDS
        assert await all_ask(first) == [3] * 200
        assert await all_ask(first + 1) == [2] * 200
        assert queue.reads == 2
        assert [len((await broadcast.news(project, job.id, first, fresh=True))[1]), queue.reads] == [3, 3]
        with pytest.raises(JobError):
            await broadcast.news("proj_other", job.id, 0)
        with pytest.raises(JobError):
            await broadcast.news(project, "ftjob-nothing", 0)
        clock.now += LISTENED_SECONDS + 1
        await broadcast.news(project, job.id, first + 3)
        assert len(broadcast._tracks) == 1

    asyncio.run(crowd())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 90), st.booleans()), min_size=1, max_size=12))
def test_whoever_is_slow_still_hears_every_event_once_and_in_order(steps: list[tuple[int, bool]]) -> None:
    """Slow listeners hold nothing in memory: what no longer lies there is read from the store."""
    clock, queue = Clock(), Spoken()
    broadcast = Broadcast(queue, Lanes(), clock)

    async def crowd() -> None:
        heard: dict[str, list[int]] = {"quick": [], "slow": []}
        for count, both in [*steps, (0, True)]:
            queue.speak(count)
            clock.now += LOOK_SECONDS
            for who in heard if both else ["quick"]:
                while True:
                    last = heard[who][-1] if heard[who] else 0
                    _, events = await broadcast.news("project", "job", last)
                    heard[who] += [event.number for event in events]
                    if (heard[who] and heard[who][-1] == queue.job.events) or not events:
                        break
        assert heard["quick"] == heard["slow"] == list(range(1, queue.job.events + 1))
        assert all(len(track.events) <= KEPT_EVENTS for track in broadcast._tracks.values())

    asyncio.run(crowd())


class Spoken:
    """A job in memory."""

    def __init__(self) -> None:
        self.job: Any = Row(events=0, project="project")
        self._events: list[Any] = []

    def speak(self, count: int) -> None:
        self._events += [Row(number=len(self._events) + i + 1) for i in range(count)]
        self.job = Row(events=len(self._events), project="project")

    def news(self, after: Any) -> Any:
        return {name: (self.job, self._events[number:] if number >= 0 else []) for name, number in after.items()}

    def events_since(self, project: str, job_id: str, number: int) -> Any:
        return self.job, self._events[number : number + 500]


class Row:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)
