"""Requests that wait for their answer take turns by project, so that nobody is kept waiting by another's many."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from postil.errors import EngineError, PostilError
from postil.model.sample import Chooser
from postil.serve.engine import Piece, Reply, Request
from postil.serve.shelf import Held
from postil.serve.text import Text


class Listener(Protocol):
    """Who asked: hears what becomes of it, on the thread that answers."""

    def piece(self, piece: Piece) -> None: ...
    def reply(self, reply: Reply) -> None: ...
    def error(self, error: PostilError) -> None: ...


@dataclass(eq=False)
class Asked:
    """A request that waits or is answered. `cancelled` may be set from any thread."""

    request: Request
    listener: Listener
    ids: list[int]
    new: int
    cancelled: bool = False
    held: Held | None = None
    cached: int = 0
    text: Text | None = None
    chooser: Chooser | None = None
    written: int = 0
    marks: int = 0
    reading: bool = True

    @property
    def voice(self) -> object:
        return self.held.voice if self.held else None


class Turns:
    """The projects take turns, each with its oldest request. most: how many requests may wait; context: how many
    tokens a question and its answer may have together."""

    def __init__(self, most: int, context: int) -> None:
        self._most, self._context = most, context
        self._queues: OrderedDict[str, deque[Asked]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[Asked]:
        return (asked for queue in self._queues.values() for asked in queue)

    def ask(self, request: Request, listener: Listener, prompt: Callable[[Request], list[int]]) -> Asked:
        """Put a request in the queue. prompt: its tokens, counted only where there is a place.

        Raises `engine_full`, `context_too_long`, or what `prompt` refuses.
        """
        if len(self) >= self._most:
            raise EngineError("engine_full", waiting=len(self))
        ids = prompt(request)
        left = self._context - len(ids)
        if left < 1 or not ids:
            raise EngineError("context_too_long", tokens=len(ids), context=self._context)
        asked = Asked(request, listener, ids, min(left, request.max_tokens or left))
        self._queues.setdefault(request.project, deque()).append(asked)
        return asked

    def first(self) -> Asked:
        return next(iter(self._queues.values()))[0]

    def take(self) -> Asked:
        project, queue = next(iter(self._queues.items()))
        asked = queue.popleft()
        del self._queues[project]
        if queue:
            self._queues[project] = queue
        return asked

    def remove(self, gone: Callable[[Asked], bool]) -> list[Asked]:
        """Take out those of which `gone` says so."""
        found = [asked for asked in self if gone(asked)]
        for project, queue in list(self._queues.items()):
            kept = deque(asked for asked in queue if asked not in found)
            if kept:
                self._queues[project] = kept
            else:
                del self._queues[project]
        return found
