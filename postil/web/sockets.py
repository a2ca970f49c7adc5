"""A page's socket speaks for that page alone, and a page is only spoken for by whoever opened it.

The library that draws the pages takes the page's id from each message; who sends it, it does not ask.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import socketio  # type: ignore[import-untyped]  # comes with nicegui
from nicegui import Client, core

LOAD_AGAIN = "Implicit handshake failed"  # at which a page loads itself again, and so comes to the door
MESSAGES = ("event", "javascript_response", "ack", "log")


def bind_sockets() -> None:
    """Ask who sends before a message of a browser is heard. Once for a process."""
    for name in MESSAGES:
        core.sio.on(name, _of_this_page(core.sio.handlers["/"][name]))
    core.sio.on("handshake", _of_its_owner(core.sio.handlers["/"]["handshake"]))
    core.sio.on("connect", _with_an_owner(core.sio.handlers["/"]["connect"]))


def is_page(query: str) -> bool:
    """Whether a socket's address names a page that somebody has opened."""
    return bool(Client.instances.keys() & parse_qs(query).get("client_id", []))


def is_owner(client_id: str, key: Any) -> bool:
    """Whether this page was opened by whoever has this key; by nobody with a key for a rater's."""
    client = Client.instances.get(client_id)
    if client is None:
        return False
    owner = client.request.scope["state"]["key"]
    return bool((owner and owner.id) == (key and key.id))


def _of_this_page(hear: Callable[..., Any]) -> Callable[..., Any]:
    """What comes over a socket is about the page that it was opened for."""

    def heard(sid: str, message: dict[str, Any]) -> Any:
        return hear(sid, message) if message.get("client_id") in core.sio.rooms(sid) else None

    return heard


def _of_its_owner(hear: Callable[..., Awaitable[bool]]) -> Callable[..., Awaitable[bool]]:
    async def heard(sid: str, message: dict[str, Any]) -> bool:
        return _owns(sid, str(message.get("client_id"))) and await hear(sid, message)

    return heard


def _with_an_owner(hear: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def heard(sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        named = parse_qs(str(environ.get("QUERY_STRING", ""))).get("client_id", [])
        if len(named) != 1 or not _owns(sid, named[0]):
            raise socketio.exceptions.ConnectionRefusedError(LOAD_AGAIN)
        await hear(sid, environ, auth)

    return heard


def _owns(sid: str, client_id: str) -> bool:
    return is_owner(client_id, core.sio.get_environ(sid)["asgi.scope"]["state"]["key"])
