"""Connections: how many there may be, together and of one address, and how long one may keep us waiting.

Each one that is open takes a file descriptor from the store, the workers and the watch; so some are never given away.
"""

from __future__ import annotations

import sys
import threading
from asyncio import TimerHandle
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from postil.api.refusals import Refused, refused
from postil.locales import say

HEADER_SECONDS = 30.0
STALL_SECONDS = 120.0  # for which nobody takes what we send: whoever reads that slowly has gone, or means harm
MOST, MOST_OF_ADDRESS = 4000, 1000
KEPT_FILES = 400  # descriptors for everything else


class Connections:
    """How many are open, by address."""

    def __init__(self, most: int = MOST, each: int = MOST_OF_ADDRESS) -> None:
        self.most, self.each = most, each
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, address: str) -> bool:
        """Count another one, if there is room for it."""
        with self._lock:
            room = self._open.total() < self.most and self._open[address] < self.each
            self._open[address] += room
        return room

    def leave(self, address: str) -> None:
        with self._lock:
            self._open[address] -= 1
            self._open += Counter()  # without those that have none


def as_many_as_there_are_files() -> Connections:
    """Bounds within what the system lets this process open; its soft limit is raised first."""
    if sys.platform == "win32":
        return Connections()
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST + KEPT_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = MOST if soft == resource.RLIM_INFINITY else max(64, min(MOST, soft - KEPT_FILES))
    return Connections(most, min(MOST_OF_ADDRESS, max(32, most // 2)))


class Patient:
    """What any protocol of uvicorn becomes that is counted, and that does not wait for ever for a slow reader."""

    counted: Connections
    _address: str | None = None
    _stalled: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)  # type: ignore[misc]  # of the protocol beside this class
        client = self.client[0] if self.client else ""  # type: ignore[attr-defined]
        if self.counted.enter(client):
            self._address = client
        else:
            self.turn_away(transport)

    def turn_away(self, transport: Any) -> None:
        transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        self._reads_again()
        super().connection_lost(exc)  # type: ignore[misc]

    def leave(self) -> None:
        """Count it no longer."""
        if self._address is not None:
            self.counted.leave(self._address)
            self._address = None

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[misc]
        if self._stalled is None:
            loop, transport = self.loop, self.transport  # type: ignore[attr-defined]
            self._stalled = loop.call_later(STALL_SECONDS, transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()  # type: ignore[misc]
        self._reads_again()

    def _reads_again(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class PatientH11(Patient, H11Protocol):
    """uvicorn's protocol, which ends a connection that has not sent its headers in time, and refuses in JSON."""

    _hurry: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait_for_headers()
        else:
            self._stop_waiting()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self.leave()  # the protocol that takes over counts it
        super().handle_websocket_upgrade(event)

    def turn_away(self, transport: Any) -> None:
        refusal = refused("too_many_open", what=say("lane.connections"), most=self.counted.each)
        self._send(refusal, b"Too Many Requests")

    def send_400_response(self, msg: str) -> None:
        self._send(refused("invalid_form", detail="HTTP"), b"Bad Request")

    def _send(self, refusal: Refused, reason: bytes) -> None:
        body = refusal.told().model_dump_json().encode()
        named = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        headers = [(name.encode(), text.encode()) for name, text in {**named, **refusal.headers}.items()]
        for event in (h11.Response(status_code=refusal.status, headers=headers, reason=reason), h11.Data(data=body),
                      h11.EndOfMessage()):  # fmt: skip
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait_for_headers(self) -> None:
        if self._hurry is None:
            self._hurry = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None

    def _too_slow(self) -> None:
        self._hurry = None
        if not self.transport.is_closing():
            self.transport.close()


def http_protocol(counted: Connections) -> type[PatientH11]:
    """The protocol of a server with these bounds."""
    return type("CountedH11", (PatientH11,), {"counted": counted})


def socket_protocol(counted: Connections) -> type[Any]:
    """The same for its live pages."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    return type("CountedSocket", (Patient, WebSocketsSansIOProtocol), {"counted": counted})
