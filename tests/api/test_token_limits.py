"""A key's tokens of a day, over HTTP: whatever a client does, what was computed counts, and no more is computed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from postil.api.booking import book
from postil.records import Message
from postil.serve import Request, open_engine
from postil.store.tables import Key
from tests.api.served import BASE, Served, refused

if TYPE_CHECKING:
    from tests.models import Build

HI = [{"role": "user", "content": "Hi"}]
PROMPT, ANSWER = 4, 3  # of "Hi" and "Hello there", as the twin counts them; the end of an answer is a token, too


def ask(client: httpx.Client, **more: Any) -> httpx.Response:
    return client.post("/chat/completions", json={"model": BASE, "messages": HI, **more})


class Limited:
    """A key with a limit, its client, and what stands in its book."""

    def __init__(self, server: Served, tokens: int) -> None:
        self.server, self.secret = server, server.key(tokens_per_day=tokens)
        self.client = server.http(self.secret)
        found = server.store.keys.check(self.secret)
        assert found is not None
        self.key: Key = found

    def today(self, until: int | None = None) -> int:
        """Used and booked. until: wait for it, since what nobody waits for is settled a moment later."""
        for _ in range(400):
            there = self.server.store.tokens.today([self.key.id]).get(self.key.id, 0)
            if until is None or there == until:
                break
            threading.Event().wait(0.02)
        return there


@pytest.fixture
def limited(server: Served) -> Iterator[Limited]:
    made = Limited(server, 100)
    with made.client:
        yield made


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_takes_what_it_took(limited: Limited, stream: bool) -> None:
    assert ask(limited.client, stream=stream, max_tokens=50).status_code == 200
    assert limited.today(PROMPT + ANSWER) == PROMPT + ANSWER
    assert ask(limited.client, stream=stream).status_code == 200
    assert limited.today(2 * (PROMPT + ANSWER)) == 2 * (PROMPT + ANSWER)


def test_a_question_is_counted_once_however_many_answers_it_has(limited: Limited) -> None:
    said = ask(limited.client, n=3, max_tokens=10, seed=1).json()["usage"]
    assert limited.today(said["total_tokens"]) == PROMPT + 3 * ANSWER == said["total_tokens"]


def test_more_than_the_day_has_is_refused_before_anything_is_computed(limited: Limited) -> None:
    asked = sum(len(engine.asked) for engine in limited.server.engines)
    for more in ({"max_tokens": 97}, {"max_tokens": 40, "n": 3}):
        answer = ask(limited.client, **more)
        refused(answer, 429, "insufficient_quota")
        assert answer.headers["x-should-retry"] == "false"
    assert limited.today() == 0
    assert sum(len(engine.asked) for engine in limited.server.engines) == asked


def test_an_answer_without_a_bound_is_bound_by_the_day(limited: Limited) -> None:
    limited.server.says = lambda request: "word " * 500
    choice = ask(limited.client).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert limited.today(100) == 100
    refused(ask(limited.client), 429, "insufficient_quota")


@pytest.mark.parametrize("idempotent", [False, True])
def test_attack_28_answers_at_the_same_time_do_not_pass_the_limit(limited: Limited, idempotent: bool) -> None:
    go = threading.Event()
    limited.server.gate = lambda request: go.wait(20) and None
    limited.server.says = lambda request: "word " * 500

    def one(i: int) -> httpx.Response:
        headers = {"idempotency-key": f"many-{i}"} if idempotent else {}
        body = {"model": BASE, "messages": HI, "max_tokens": 30}
        with limited.server.http(limited.secret, **headers) as client:
            return client.post("/chat/completions", json=body)

    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(one, i) for i in range(12)]
        while sum(future.done() for future in waiting) < 10:
            threading.Event().wait(0.02)
        go.set()
        answers = [future.result() for future in waiting]
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 10
    late = next(answer for answer in answers if answer.status_code == 429)
    refused(late, 429, "tokens_booked")
    assert late.headers["retry-after"] and "x-should-retry" not in late.headers
    assert limited.today() == 2 * (PROMPT + 30)


@pytest.mark.parametrize("stream", [False, True])
def test_attack_28_hanging_up_does_not_give_back_what_was_computed(limited: Limited, stream: bool) -> None:
    """Neither in the middle of a stream nor while the whole answer is awaited; the rest is given back."""
    said, go = [0], threading.Event()

    def gate(request: Request) -> None:
        said[0] += 1
        if said[0] > 20:
            go.wait(20)

    limited.server.says = lambda request: "word " * 500
    limited.server.gate = gate
    body = {"model": BASE, "messages": HI, "max_tokens": 80, "stream": stream}
    try:
        with limited.client.stream("POST", "/chat/completions", json=body, timeout=1.5) as answer:
            for _ in answer.iter_raw():
                if said[0] > 20:
                    break
    except httpx.ReadTimeout:
        assert not stream
    assert limited.today() == PROMPT + 80
    threading.Event().wait(0.5)  # so that the server has noticed
    go.set()
    assert 20 <= limited.today(PROMPT + 20) - PROMPT <= 22


def test_attack_28_an_answer_that_breaks_off_counts_what_was_heard(limited: Limited) -> None:
    from postil.errors import EngineError

    said = [0]

    def gate(request: Request) -> None:
        said[0] += 1
        if said[0] > 7:
            raise EngineError("engine_lost", reason="-")

    limited.server.says, limited.server.gate = (lambda request: "word " * 50), gate
    assert ask(limited.client, max_tokens=40).status_code == 503
    assert limited.today(PROMPT + 7) == PROMPT + 7


def test_attack_28_comparisons_count_both_sides(limited: Limited) -> None:
    model = limited.server.model(limited.secret)
    body = {"model": model, "question": "Hi", "max_tokens": 5}
    assert limited.client.post("/postil/comparisons", json=body).status_code == 200
    used = limited.today()
    assert used > 2 * ANSWER
    limited.server.store.tokens.spend(limited.key.limits, 100 - used)
    refused(limited.client.post("/postil/comparisons", json=body), 429, "insufficient_quota")


def test_what_the_engine_refuses_takes_nothing(limited: Limited) -> None:
    engine = limited.server.house.engine(BASE)
    booking = book(limited.server.house, limited.key, engine, [Request(prompt_ids=(1, 2, 3), max_tokens=5)])
    assert limited.today() == 8
    asyncio.run(booking.settled())
    assert limited.today() == 0


def test_attack_28_keys_made_with_a_limited_key_do_not_pass_its_limits(server: Served, limited: Limited) -> None:
    for wanted in ({"tokens_per_day": 101}, {"tokens_per_day": 10**9}):
        answer = limited.client.post("/postil/keys", json={"name": "more", "scopes": ["serve"], **wanted})
        refused(answer, 403, "key_beyond", param="tokens_per_day")
    made = [limited.client.post("/postil/keys", json={"name": "k", "scopes": ["serve"]}).json() for _ in range(3)]
    assert [key["tokens_per_day"] for key in made] == [100] * 3
    server.says = lambda request: "word " * 500
    spent = []
    for key in made:
        with server.http(key["secret"]) as client:
            spent.append(ask(client, max_tokens=46).status_code)
    assert spent == [200, 200, 429]
    free, _ = server.store.keys.create(limited.key.project, "free", ["admin"])
    refused(limited.client.post(f"/postil/keys/{free.id}/rotate"), 403, "key_beyond_limits")


def test_attack_28_requests_of_children_count_for_their_maker(server: Served) -> None:
    with server.http(server.key(requests_per_minute=4)) as maker:
        child = maker.post("/postil/keys", json={"name": "k", "scopes": ["read"]}).json()["secret"]
        with server.http(child) as client:
            assert [client.get("/files").status_code for _ in range(4)] == [200, 200, 200, 429]
        refused(maker.get("/files"), 429, "rate_limit_exceeded")


@pytest.mark.full
def test_attack_28_the_real_engine_tells_what_it_had_computed_when_it_was_stopped(server: Served, base: Build) -> None:
    limited, engine = Limited(server, 500), open_engine(base("llama3"))
    try:
        question = Request((Message("user", "你好" * 3),), max_tokens=60)
        booking = book(server.house, limited.key, engine, [question])
        begun = threading.Event()
        running = booking.start(booking.wanted[0], lambda piece: begun.set())
        booking.close()
        assert begun.wait(60)
        running.cancel()
        reply = running.result(60)
        spent = reply.prompt_tokens + reply.completion_tokens
        assert reply.finish == "cancelled" and reply.prompt_tokens == engine.prompt_tokens(question)
        assert limited.today(spent) == spent < reply.prompt_tokens + 60
        unbound = book(server.house, limited.key, engine, [Request((Message("user", "a"),))])
        assert unbound.wanted[0].max_tokens and limited.today() == 500
        asyncio.run(unbound.settled())
    finally:
        engine.close()
        limited.client.close()
