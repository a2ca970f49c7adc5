"""`postil serve`: the application on a port, for as long as it is wanted."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from postil.api.app import create_app
from postil.api.asking import ask, judge
from postil.api.connections import Connections, as_many_as_there_are_files, http_protocol, socket_protocol
from postil.api.house import House
from postil.api.logs import open_log
from postil.errors import RequestError
from postil.jobs import Queue, Watch
from postil.model.memory import share_arenas
from postil.serve import opener
from postil.settings import Settings
from postil.store import keep_private, open_places, open_store

GRACE_SECONDS = 20
QUIET_SECONDS = 30.0  # an engine that was asked later is in use, and would be back at once
SOCKET_BYTES = 4 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")
Tell = Callable[[str, dict[str, Any]], None]  # a key of `locales/` and its values
Pages = Callable[[FastAPI, House], str]  # adds pages, and says at which path they begin


class Server(uvicorn.Server):
    """Tells the house as soon as it is to close, so that streams end before their connections are cut."""

    def __init__(self, config: uvicorn.Config, house: House) -> None:
        super().__init__(config)
        self._house = house

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._house.closing.set()
        if sig == signal.SIGTERM:  # asked to end, and ends in good order: uvicorn would die of the signal afterwards
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)


def configured(app: Any, *, sockets: bool = False, most: Connections | None = None) -> uvicorn.Config:
    """uvicorn with our limits; it says nothing of requests, in which secrets may stand. `sockets`: for live pages."""
    counted = most or as_many_as_there_are_files()
    return uvicorn.Config(
        app,
        http=http_protocol(counted),
        ws=socket_protocol(counted) if sockets else "none",
        ws_max_size=SOCKET_BYTES,
        log_level="warning",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=64 << 10,
    )


def serve(host: str, port: int, tell: Tell, *, public: bool = False, pages: Pages | None = None) -> None:
    """Serve until a signal ends it. Raises RequestError `needs_unlocked_door` for an address that others can reach,
    `port_taken`."""
    if host not in LOOPBACK and not public:
        raise RequestError("needs_unlocked_door", host=host)
    share_arenas()
    keep_private()
    log = open_log()
    open_engine = opener(Settings())
    try:
        bound = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise RequestError("port_taken", host=host, port=port, detail=error.strerror or str(error)) from error
    port = bound.getsockname()[1]
    store = open_store()
    queue = Queue(store)
    house = House(store, queue, open_engine, judge, ask)
    watch = Watch(store, make_room=lambda: house.rest(QUIET_SECONDS))
    named = addresses(host, port, Settings().hosts)
    url, paths = f"http://{_bracketed(host)}:{port}", []
    app = create_app(
        house,
        lambda: named,
        begin=watch.start,
        end=lambda: watch.stop(grace=GRACE_SECONDS),
        pages=lambda app: paths.append(pages(app, house)) if pages else None,
        watches=watch.alive,
    )
    server = Server(configured(app, sockets=pages is not None), house)
    try:
        first = store.keys.first()
        if first:
            tell("api.first_key", {"secret": first})
        if host not in LOOPBACK:
            tell("api.public", {"host": host})
        for place, command in open_places().items():
            tell("doctor.open", {"path": place, "command": command})
        tell("api.started", {"url": f"{url}/v1"})
        for path in paths:
            tell("api.pages", {"url": url + path})
        server.run(sockets=[bound])
    finally:
        bound.close()
        store.close()
        log.close()


def addresses(host: str, port: int, more: str) -> frozenset[str]:
    """What may stand in Host: this machine's own names with the port, and what the settings allow (with commas)."""
    names = {_bracketed(name) for name in (*LOOPBACK, host) if name not in ("0.0.0.0", "::")}  # noqa: S104
    ours = {f"{name}:{port}" for name in names} | (names if port == 80 else set())
    return frozenset(ours | {name.strip().lower() for name in more.split(",") if name.strip()})


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
