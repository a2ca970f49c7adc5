"""A session ends on the server: by signing out, by time, and with its key. Its cookie is kept nowhere."""

from __future__ import annotations

import pytest

from postil.store import LOCAL, Store
from postil.store.sessions import IDLE_SECONDS, LIFE_SECONDS, MOST_OF_KEY, TOUCH_SECONDS, WebSessions
from postil.store.tables import Key


@pytest.fixture
def clock() -> list[float]:
    return [1_800_000_000.0]


@pytest.fixture
def sessions(store: Store, clock: list[float]) -> WebSessions:
    return WebSessions(store.database, lambda: clock[0])


@pytest.fixture
def key(store: Store) -> Key:
    return store.keys.create(LOCAL, "k", ["read"])[0]


def test_attack_29_a_cookie_ends_on_the_server_when_its_browser_signs_out(sessions: WebSessions, key: Key) -> None:
    first, other = sessions.open(key, "127.0.0.1"), sessions.open(key, "127.0.0.1")
    found = sessions.key(first)
    assert found is not None and found.id == key.id
    sessions.end(first, "127.0.0.1")
    assert sessions.key(first) is None
    assert sessions.key(other) is not None
    sessions.end(first, "127.0.0.1")


def test_attack_29_a_session_ends_without_use_and_after_its_life(
    sessions: WebSessions, key: Key, clock: list[float]
) -> None:
    idle = sessions.open(key, "a")
    clock[0] += IDLE_SECONDS + 1
    assert sessions.key(idle) is None
    used, begun = sessions.open(key, "a"), clock[0]
    while clock[0] - begun + IDLE_SECONDS - 10 <= LIFE_SECONDS:
        clock[0] += IDLE_SECONDS - 10
        assert sessions.key(used) is not None
    clock[0] = begun + LIFE_SECONDS + 1
    assert sessions.key(used) is None


def test_use_is_written_down_now_and_then(sessions: WebSessions, key: Key, clock: list[float], store: Store) -> None:
    cookie = sessions.open(key, "a")
    clock[0] += TOUCH_SECONDS - 1
    assert sessions.key(cookie) is not None
    clock[0] += IDLE_SECONDS - TOUCH_SECONDS + 2
    assert sessions.key(cookie) is None


@pytest.mark.parametrize("act", ["revoke", "rotate"])
def test_attack_29_sessions_end_with_their_key(store: Store, sessions: WebSessions, key: Key, act: str) -> None:
    cookie, other = sessions.open(key, "a"), sessions.open(store.keys.of_pages(), "a")
    getattr(store.keys, act)(key.id)
    assert sessions.key(cookie) is None
    assert sessions.key(other) is not None


def test_a_key_has_so_many_sessions_and_then_the_oldest_ends(
    sessions: WebSessions, key: Key, clock: list[float]
) -> None:
    cookies = []
    for _ in range(MOST_OF_KEY + 1):
        clock[0] += 1
        cookies.append(sessions.open(key, "a"))
    assert sessions.key(cookies[0]) is None
    assert all(sessions.key(cookie) for cookie in (cookies[1], cookies[-1]))


def test_attack_17_the_cookie_is_not_kept(store: Store, sessions: WebSessions, key: Key) -> None:
    cookie = sessions.open(key, "a")
    for path in store.directory.rglob("postil.db*"):
        assert cookie.encode() not in path.read_bytes()
    assert sessions.key(cookie + "x") is None
    assert sessions.key("\ud800") is None
