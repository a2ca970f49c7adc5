"""Connections that ask for nothing, ask too slowly, or do not take their answer: others come in meanwhile."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from postil.api import connections
from postil.api.connections import Connections, as_many_as_there_are_files
from tests.api.served import Served, served, upload

HALF = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
MOST = 12


@pytest.fixture
def narrow(home: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server that takes few connections of one address."""
    monkeypatch.setattr(connections, "MOST_OF_ADDRESS", MOST)
    with served(tmp_path, home) as server:
        yield server


def half_open(server: Served, source: str = "127.0.0.1") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", server.port), timeout=20, source_address=(source, 0))
    made.sendall(HALF)
    return made


def whole(server: Served, source: str) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20, source_address=(source, 0)) as made:
        made.sendall(f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        with suppress(ConnectionResetError):  # who is refused is not heard to the end
            while piece := made.recv(1 << 16):
                answer += piece
        return answer


def test_attack_30_half_open_connections_of_one_address_leave_room_for_others(narrow: Served) -> None:
    open_ones = [half_open(narrow) for _ in range(MOST)]
    assert b" 200 " in whole(narrow, "127.0.0.2")
    with socket.create_connection(("127.0.0.1", narrow.port), timeout=20) as refusal:
        answer = refusal.recv(1 << 16)
    assert b" 429 " in answer and b"too_many_open" in answer and b"retry-after" in answer.lower()
    for one in open_ones:
        one.close()
    while b" 200 " not in whole(narrow, "127.0.0.1"):  # there is room as soon as the server has noticed
        pass


def test_attack_30_whoever_does_not_take_an_answer_is_cut_off(
    narrow: Served, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.2)
    key, size = narrow.key(), 48 << 20
    with narrow.http(key) as client:
        file = upload(client, b"x" * size, purpose="user_data")
    lazy = socket.create_connection(("127.0.0.1", narrow.port), timeout=20)
    lazy.sendall(f"GET /v1/files/{file}/content HTTP/1.1\r\nHost: 127.0.0.1:{narrow.port}\r\n"
                 f"Authorization: Bearer {key}\r\n\r\n".encode())  # fmt: skip
    assert lazy.recv(1)  # it begins
    while any(one.client == lazy.getsockname() for one in narrow.server.server_state.connections):
        assert httpx.get(f"{narrow.url}/health").status_code == 200
    came = 0
    try:
        while piece := lazy.recv(1 << 20):
            came += len(piece)
    except ConnectionResetError:
        pass
    assert 0 < came < size
    lazy.close()


def test_connections_are_counted_by_address_and_together() -> None:
    counted = Connections(5, 3)
    assert [counted.enter("a") for _ in range(4)] == [True, True, True, False]
    assert [counted.enter("b") for _ in range(3)] == [True, True, False]
    counted.leave("a")
    assert counted.enter("b")
    assert not counted.enter("a")


def test_attack_30_some_files_are_left_for_the_store_the_workers_and_the_watch() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for soft, hard in ((1024, before[1]), (before[0], before[1])):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            bounds, now = as_many_as_there_are_files(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            assert bounds.most + connections.KEPT_FILES <= now or bounds.most == 64
            assert bounds.each < bounds.most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
