"""The client of an engine of ours: starts its processes when they are first needed, and again when they were lost.

One holds the base and all adapters that answer together; another, if ever one is asked, those that answer alone.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from postil.errors import EngineError
from postil.remote import check_sealed
from postil.serve import wire
from postil.serve.engine import Ended, Engine, Health, Heard, Limits, Reply, Request, Running
from postil.serve.kind import kind_of
from postil.serve.launched import Launched, Server
from postil.serve.link import Call, Link
from postil.serve.vllm import Vllm
from postil.settings import AUTO, Settings, vllm_key

DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")
MOST_BETWEEN_LOOKS = 15.0  # seconds, at whether anything was asked lately


def open_engine(
    base: Path, *, dtype: str = AUTO, device: str = AUTO, threads: int = 0, limits: Limits | None = None,
    idle: float = 0.0,
) -> Engine:  # fmt: skip
    """An engine for the base model in `base`; its process starts when it is first asked. threads 0: all cores.

    device "auto": a GPU if there is one; dtype "auto": bfloat16 on a GPU that has it, else float32. idle: seconds after
    which one that nobody asks rests by itself; 0: it never does.
    """
    threads = threads or os.cpu_count() or 1
    return Local(base, dtype=dtype, device=device, threads=threads, limits=limits or Limits(), idle=idle)


def opener(settings: Settings) -> Callable[[Path], Engine]:
    """What opens the engine of a base, as the settings say.

    Raises EngineError `engine_unknown`, `engine_device_unknown`, `vllm_missing`,
    `remote_address`, `remote_open` for a vLLM to which its key would travel in the open.
    """
    if settings.engine == "ours":
        if not DEVICE.fullmatch(settings.engine_device):
            raise EngineError("engine_device_unknown", device=settings.engine_device[:60])
        return partial(open_engine, device=settings.engine_device, idle=60 * settings.engine_idle)
    if settings.engine != "vllm":
        raise EngineError("engine_unknown", engine=settings.engine[:60])
    check_sealed(settings.vllm_url, "POSTIL_VLLM_URL")
    command, more = shlex.split(settings.vllm_command), shlex.split(settings.vllm_args.reveal())
    if not settings.vllm_url and (not command or shutil.which(command[0]) is None):
        raise EngineError("vllm_missing", reason=settings.vllm_command)

    def reach(engine: Vllm, base: Path) -> Server:
        if settings.vllm_url:
            return Server(settings.vllm_url.reveal(), vllm_key())
        return Launched(command, base, more, engine.answers)

    return lambda base: Vllm(base, lambda engine: reach(engine, base))


class Local:
    """An engine in child processes of this one. See `Engine` for its methods."""

    def __init__(
        self, base: Path, *, dtype: str, device: str, threads: int, limits: Limits, idle: float
    ) -> None:  # fmt: skip
        self._base = base
        self._told = {"base": str(base), "dtype": dtype, "device": device, "threads": threads,
                      "limits": wire.as_json(limits)}  # fmt: skip
        self._links: dict[bool, Link] = {}  # alone or not -> the process
        self._starts = {False: 0, True: 0}
        self._closing = threading.Event()
        self._lock = threading.Lock()
        if idle > 0:
            threading.Thread(target=self._rest_when_idle, args=(idle,), name="rest", daemon=True).start()

    def ensure(self, adapter: Path) -> None:
        self._ask(adapter, {"do": "ensure", "adapter": str(adapter.absolute())}).result()

    def start(
        self, request: Request, heard: Heard = lambda piece: None, ended: Ended = lambda running: None
    ) -> Running:
        return self._ask(request.adapter, {"do": "generate", "request": wire.request_json(request)}, heard, ended)

    def generate(self, request: Request, heard: Heard = lambda piece: None) -> Reply:
        return self.start(request, heard).result()

    def evict(self, adapter: Path) -> None:
        self._tell({"do": "evict", "adapter": str(adapter.absolute())})  # else nothing is in memory

    def prompt_tokens(self, request: Request) -> int:
        return int(self._ask(request.adapter, {"do": "count", "request": wire.request_json(request)}).result())

    def health(self) -> Health:
        told = [wire.health_of(one) for one in self._tell({"do": "health"})]
        return Health(
            self._base, bool(told),
            running=sum(one.running for one in told), waiting=sum(one.waiting for one in told),
            adapters=tuple(path for one in told for path in one.adapters),
            adapter_bytes=sum(one.adapter_bytes for one in told), memory_bytes=sum(one.memory_bytes for one in told),
            context=max((one.context for one in told), default=0), device=told[0].device if told else "",
            restarts=sum(max(0, starts - 1) for starts in self._starts.values()),
        )  # fmt: skip

    def failed(self) -> bool:
        with self._lock:
            links = list(self._links.values())
        return not self._closing.is_set() and any(not link.alive and not link.rests for link in links)

    def rest(self, seconds: float) -> bool:
        with self._lock:
            resting = {alone: link for alone, link in self._links.items() if link.alive and link.rest(seconds)}
            for alone in resting:
                self._starts[alone] -= 1  # it was not lost
        for link in resting.values():
            link.close()
        return bool(resting)

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            links = list(self._links.values())
        for link in links:
            link.close()

    def _rest_when_idle(self, seconds: float) -> None:
        while not self._closing.wait(min(seconds / 4, MOST_BETWEEN_LOOKS)):
            self.rest(seconds)

    def _ask(
        self, adapter: Path | None, told: Mapping[str, Any], heard: Heard = lambda piece: None,
        ended: Ended = lambda running: None,
    ) -> Call:  # fmt: skip
        while True:
            link = self._linked(adapter)
            try:
                return link.ask(told, heard, ended)
            except EngineError:
                if not link.rests:  # it went to rest in between
                    raise

    def _tell(self, told: Mapping[str, Any]) -> list[Any]:
        """What the processes that there are answer to this; one that goes to rest in between says nothing."""
        with self._lock:
            links = [link for link in self._links.values() if link.alive]
        answers = []
        for link in links:
            try:
                answers.append(link.ask(told).result())
            except EngineError:
                if not link.rests:
                    raise
        return answers

    def _linked(self, adapter: Path | None) -> Link:
        """The process for this adapter, started if it is not there."""
        alone = adapter is not None and not kind_of(adapter).together
        with self._lock:
            if self._closing.is_set():
                raise EngineError("engine_closed")
            link = self._links.get(alone)
            if link is None or not link.alive:
                link = self._links[alone] = Link({**self._told, "alone": alone})
                self._starts[alone] += 1
            return link
