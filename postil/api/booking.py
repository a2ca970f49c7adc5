"""The tokens of an answer: booked before it begins, settled when it has ended, whoever still listens then.

`book` gives back the engine, which counts what is asked of it, and the requests, bounded by what was booked; `settled`
waits until what the answers took is written down. An answer that nobody waits for (the client hung up) is counted all
the same, by its end on the engine's side.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from postil.api.house import House
from postil.errors import EngineError, PostilError, StoreError
from postil.serve import Engine, Piece, Request, Running

if TYPE_CHECKING:
    from postil.serve.engine import Ended, Heard
    from postil.store.tables import Key
    from postil.store.tokens import Booked, Tokens

CONTEXT = 32_768  # of a model that does not say what it can hold
LOG = logging.getLogger(__name__)
_WRITER = ThreadPoolExecutor(1, "bookkeeping")  # an engine's own threads must not wait for the database


def book(house: House, key: Key, engine: Engine, wanted: Sequence[Request]) -> Booking:
    """Set aside what these answers may take of the days of `key` and of the keys that it was made with.

    Where no `max_tokens` is named, that is what the model can hold, or all that is left of the day if that is less.
    Raises StoreError `insufficient_quota`, `tokens_booked`, and what the engine refuses.
    """
    if all(limit["tokens_per_day"] is None for limit in key.limits):
        return Booking(engine, wanted, house.store.tokens, None)
    questions = _questions(wanted)
    counts = [engine.prompt_tokens(question) for question in questions]
    prompts, room = sum(counts), max(1, (engine.health().context or CONTEXT) - max(counts))
    least = [min(request.max_tokens or 1, room) for request in wanted]
    most = [min(request.max_tokens or room, room) for request in wanted]
    booked = house.store.tokens.book(key.limits, prompts + sum(least), prompts + sum(most))
    each = max(1, (booked.tokens - prompts) // len(wanted))
    bounded = [request if request.max_tokens else replace(request, max_tokens=min(room, each)) for request in wanted]
    return Booking(engine, bounded, house.store.tokens, booked, list(zip(questions, counts, strict=True)))


async def booked_on_a_thread(house: House, key: Key, engine: Engine, wanted: Sequence[Request]) -> Booking:
    """`book` in its turn. Whoever is gone before it is done leaves nothing booked."""
    making = asyncio.ensure_future(house.lanes.run("engines", key.project, book, house, key, engine, wanted))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(_give_back)
        raise


def _give_back(making: asyncio.Future[Booking]) -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().close()


class Booking:
    """The engine for some answers that are paid for. `wanted`: what may be asked of it."""

    def __init__(self, engine: Engine, wanted: Sequence[Request], tokens: Tokens, booked: Booked | None,
                 prompts: Sequence[tuple[Request, int]] = ()) -> None:  # fmt: skip
        self.wanted, self._prompts = list(wanted), prompts
        self._engine, self._tokens, self._booked = engine, tokens, booked
        self._lock = threading.Lock()
        self._read: list[Request] = []  # questions that are counted: several answers to one are read once
        self._used = self._running = 0
        self._closed = False
        self._written: Future[None] = Future()

    def start(
        self, request: Request, heard: Heard = lambda piece: None, ended: Ended = lambda running: None
    ) -> Running:
        """As an engine's `start`."""
        if self._closed:
            raise EngineError("engine_closed")
        if self._booked is None:
            return self._engine.start(request, heard, ended)
        pieces = [0]

        def count(piece: Piece) -> None:
            pieces[0] += 1
            heard(piece)

        def end(running: Running) -> None:
            self._count(request, running, pieces[0])
            ended(running)

        with self._lock:
            self._running += 1
        try:
            return self._engine.start(request, count, end)
        except BaseException:
            self._leave(0)
            raise

    def close(self) -> None:
        """No more will be started: what is under way is settled when it ends. Any number of times."""
        with self._lock:
            self._closed = True
        self._settle()

    async def settled(self) -> None:
        """Until what the answers took is written down; all must have ended. A database that is away is not waited for:
        then what was booked stays counted."""
        self.close()
        if self._booked is not None:
            await asyncio.wait([asyncio.wrap_future(self._written)])

    def _count(self, request: Request, running: Running, pieces: int) -> None:
        """One answer has ended: what was computed counts, to its end or not."""
        question = replace(request, seed=None, max_tokens=None)
        known = next((count for asked, count in self._prompts if asked == question), 0) if pieces else 0
        try:
            reply = running.result()  # an engine elsewhere may not say what an answer took that was broken off
            prompt, written = reply.prompt_tokens or known, max(reply.completion_tokens, pieces)
        except PostilError:  # no more is known than what was heard of it
            prompt, written = known, pieces
        with self._lock:
            new = question not in self._read
            self._read += [question] if new else []
        self._leave(written + (prompt if new else 0))

    def _leave(self, used: int) -> None:
        with self._lock:
            self._used += used
            self._running -= 1
        self._settle()

    def _settle(self) -> None:
        with self._lock:
            booked = self._booked
            if booked is None or self._running or not self._closed or self._written.running() or self._written.done():
                return
            self._written.set_running_or_notify_cancel()
        _WRITER.submit(self._write, booked)

    def _write(self, booked: Booked) -> None:
        try:
            self._tokens.settle(booked, self._used)
        except StoreError as error:
            LOG.warning("tokens of %s stay booked: %s", ", ".join(booked.keys), error.code)
        finally:
            self._written.set_result(None)


def _questions(wanted: Sequence[Request]) -> list[Request]:
    """Each question once, however many answers it is to have."""
    asked: list[Request] = []
    for request in wanted:
        question = replace(request, seed=None, max_tokens=None)
        asked += [question] if question not in asked else []
    return asked
