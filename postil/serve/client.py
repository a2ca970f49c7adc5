"""The client of an engine of ours: starts its process when it is first needed, and again when it was lost."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from postil.errors import EngineError
from postil.serve import wire
from postil.serve.engine import Ended, Engine, Health, Heard, Limits, Reply, Request, Running
from postil.serve.link import Link


def open_engine(
    base: Path, *, dtype: str = "float32", device: str = "cpu", threads: int = 0, limits: Limits | None = None
) -> Engine:
    """An engine for the base model in `base`; its process starts when it is first asked. threads 0: all cores."""
    return Local(base, dtype=dtype, device=device, threads=threads or os.cpu_count() or 1, limits=limits or Limits())


class Local:
    """An engine in a child process of this one. See `Engine` for its methods."""

    def __init__(self, base: Path, *, dtype: str, device: str, threads: int, limits: Limits) -> None:
        self._base = base
        self._told = {"base": str(base), "dtype": dtype, "device": device, "threads": threads,
                      "limits": wire.as_json(limits)}  # fmt: skip
        self._link: Link | None = None
        self._starts = 0
        self._closed = False
        self._lock = threading.Lock()

    def ensure(self, adapter: Path) -> None:
        self._linked().ask({"do": "ensure", "adapter": str(adapter.absolute())}).result()

    def start(
        self, request: Request, heard: Heard = lambda piece: None, ended: Ended = lambda running: None
    ) -> Running:
        return self._linked().ask({"do": "generate", "request": wire.request_json(request)}, heard, ended)

    def generate(self, request: Request, heard: Heard = lambda piece: None) -> Reply:
        return self.start(request, heard).result()

    def evict(self, adapter: Path) -> None:
        link = self._link
        if link is not None and link.alive:  # else nothing is in memory
            link.ask({"do": "evict", "adapter": str(adapter.absolute())}).result()

    def prompt_tokens(self, request: Request) -> int:
        return int(self._linked().ask({"do": "count", "request": wire.request_json(request)}).result())

    def health(self) -> Health:
        link = self._link
        if link is None or not link.alive:
            return Health(self._base, False, restarts=max(0, self._starts - 1))
        told = link.ask({"do": "health"}).result()
        return wire.health_of({**told, "restarts": self._starts - 1})

    def close(self) -> None:
        with self._lock:
            self._closed, link = True, self._link
        if link is not None:
            link.close()

    def _linked(self) -> Link:
        with self._lock:
            if self._closed:
                raise EngineError("engine_closed")
            if self._link is None or not self._link.alive:
                self._link = Link(self._told)
                self._starts += 1
            return self._link
