"""What the routes stand on: store, queue and engines, who is calling, and what a key may do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request, params

from postil.api.asking import Ask
from postil.api.bodies import address_of
from postil.api.broadcast import Broadcast
from postil.api.lanes import Lanes, holder
from postil.api.looks import Looks
from postil.api.rate_limits import RateLimits
from postil.api.refusals import refused
from postil.api.standing import Standing
from postil.api.streams import Streams
from postil.errors import StoreError
from postil.jobs import Queue
from postil.plan import known
from postil.records import Base
from postil.serve import Engine
from postil.settings import Settings
from postil.store import LINE, Actor, Store, act_as, read_json

if TYPE_CHECKING:
    from postil.store.tables import Key, Model

Judge = Callable[[Path], str | None]  # what is wrong with a training file, if anything
IMPLIED = {"admin": ("admin", "train", "read", "serve"), "train": ("train", "read")}


@dataclass(frozen=True)
class Callee:
    """A model that can be asked: the base whose engine answers, and the adapter's directory, if it has one."""

    name: str
    base: str
    adapter: Path | None


@dataclass
class House:
    """Everything behind the doors. Threads share it."""

    store: Store
    queue: Queue
    open_engine: Callable[[Path], Engine]
    judge: Judge
    ask: Ask
    settings: Settings = field(default_factory=Settings)
    rate_limits: RateLimits = field(default_factory=RateLimits)
    lanes: Lanes = field(default_factory=Lanes)
    closing: threading.Event = field(default_factory=threading.Event)
    _engines: dict[str, Engine] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def looks(self) -> Looks:
        """Tables that were looked at, for the next window."""
        return Looks(self.store.directory / "looks", self.store.blobs.exists)

    @cached_property
    def broadcast(self) -> Broadcast:
        """What is new in jobs that are listened to."""
        return Broadcast(self.queue, self.lanes)

    @cached_property
    def standing(self) -> Standing:
        """Whether keys and sessions that came in still hold."""
        return Standing(self.lanes)

    @cached_property
    def streams(self) -> Streams:
        """What goes on for as long as somebody listens, by their keys."""
        return Streams(self.lanes)

    def command(self, arguments: Sequence[str], seconds: float) -> Any:
        """What a command of ours says, once there is a place for it. Raises what `ask` does, Refused `too_busy`."""
        with self.lanes.place_here("commands", holder()):
            return self.ask(arguments, seconds)

    def judged(self, path: Path) -> str | None:
        """What is wrong with a training file, if anything; a command, too."""
        with self.lanes.place_here("commands", holder()):
            return self.judge(path)

    def bases(self) -> list[Base]:
        """The base models whose files are on this machine."""
        return [base for base in known(self.settings.home) if base.path is not None]

    def lacks(self, name: str) -> bool:
        """Whether this is a base of the catalogue whose files are not on this machine."""
        return any(base.name == name and base.path is None for base in known(self.settings.home))

    def engine(self, base_name: str) -> Engine:
        """The engine of a base; started by the first who asks. Raises StoreError `model_not_found`."""
        with self._lock:
            if base_name not in self._engines:
                path = next((base.path for base in self.bases() if base.name == base_name), None)
                if path is None:
                    raise StoreError("model_not_found", model=base_name[:100])
                self._engines[base_name] = self.open_engine(path)
            return self._engines[base_name]

    def find(self, project: str, name: str) -> Callee:
        """What can be asked under this name. A line's name stands for its model.

        Raises StoreError `model_not_found`, `line_not_found`, Refused `model_not_live`.
        """
        if name.startswith(LINE):
            name = self.store.lines.get(project, name).model
        if not name.startswith("ft:"):
            if name not in {base.name for base in self.bases()}:
                raise StoreError("model_not_found", model=name[:100])
            return Callee(name, name, None)
        model = self.store.models.get(project, name)
        if not model.live:
            raise refused("model_not_live", model=model.id)
        return Callee(model.id, model.base, self.store.directory / model.directory)

    def plan_of(self, model: Model) -> dict[str, Any]:
        """The plan that a fine-tuned model was trained by; empty when it came without one."""
        file = self.store.directory / model.directory / "plan.json"
        plan: dict[str, Any] = read_json(file).get("plan", {}) if file.exists() else {}
        return plan

    def delete(self, project: str, name: str, by: str, *, checkpoints: bool = False) -> None:
        """Delete a model, with `checkpoints` those of its job, too, and let the engines forget them.

        Raises what `Models.delete` does.
        """
        for row in self.store.models.delete(project, name, by, checkpoints=checkpoints):
            with self._lock:
                engine = self._engines.get(row.base)
            if engine is not None:
                engine.evict(self.store.directory / row.directory)

    def rest(self, seconds: float) -> bool:
        """Let engines that nobody has asked for so long give their memory back; whether one did."""
        with self._lock:
            engines = list(self._engines.values())
        return sum(engine.rest(seconds) for engine in engines) > 0

    def engines(self) -> list[Engine]:
        """Those that were asked for so far."""
        with self._lock:
            return list(self._engines.values())

    def close(self) -> None:
        """End the engines and what waits for events."""
        self.closing.set()
        with self._lock:
            engines, self._engines = list(self._engines.values()), {}
        for engine in engines:
            engine.close()


async def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


async def _caller(request: Request) -> Any:
    key = request.scope["state"]["key"]
    act_as(Actor(key.id, key.name, key.project, address_of(request)))
    return key


TheHouse = Annotated[House, Depends(_house)]
if TYPE_CHECKING:
    Caller = Annotated[Key, Depends(_caller)]
else:
    Caller = Annotated[Any, Depends(_caller)]


def holds(key: Key, *scopes: str) -> bool:
    """Whether a key has one of `scopes`, by itself or by what another of its scopes implies."""
    return not {implied for scope in key.scopes for implied in IMPLIED.get(scope, (scope,))}.isdisjoint(scopes)


@dataclass(frozen=True)
class Needs(params.Depends):
    """What keeps a route for keys that have one of `scopes`."""

    scopes: tuple[str, ...] = ()


def may(*scopes: str) -> Any:
    """The route is for keys that have one of `scopes`."""

    async def check(caller: Caller) -> None:
        if not holds(caller, *scopes):
            raise refused("scope_missing", scope=scopes[0])

    return Needs(check, scopes=scopes)
