"""Whether this server can do its work now: what a load balancer or a supervisor asks, often and without a key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

import anyio
from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text
from starlette.responses import JSONResponse

from postil.errors import PostilError
from postil.serve import Engine
from postil.store import Store, free_bytes

LEAST_FREE_BYTES = 64 << 20
KEPT_SECONDS = 1.0
FAILED_SECONDS = 30.0
CHECK_SECONDS = 5.0  # for all parts together; one that takes longer is not well
Check = Callable[[], bool]


class Alive(BaseModel):
    """The process is there and answers."""

    status: str = "ok"


class Ready(BaseModel):
    """Whether all parts work, and each of them: "ok" or "failed"."""

    status: str
    parts: dict[str, str]


class Readiness:
    """Looks at each part, at most once a second; while one look is under way, the others get what was seen last."""

    def __init__(self, parts: Mapping[str, Check], clock: Callable[[], float] = time.monotonic) -> None:
        self._parts, self._clock = dict(parts), clock
        self._looking = threading.Lock()
        self._since = float("-inf")
        self._last = Ready(status="starting", parts=dict.fromkeys(parts, "unknown"))

    def look(self) -> Ready:
        """What is well. Never raises."""
        if self._clock() - self._since < KEPT_SECONDS or not self._looking.acquire(blocking=False):
            return self._last
        try:
            parts = {name: "ok" if _works(check) else "failed" for name, check in self._parts.items()}
            status = "ok" if set(parts.values()) == {"ok"} else "failed"
            self._last, self._since = Ready(status=status, parts=parts), self._clock()
        finally:
            self._looking.release()
        return self._last

    def overdue(self) -> Ready:
        """What is said when a look takes too long: a database that does not answer, a disk that hangs."""
        return Ready(status="failed", parts=dict.fromkeys(self._last.parts, "unknown"))


def router(readiness: Readiness) -> APIRouter:
    """/livez and /readyz. They have a thread of their own: the pool may be full of slow requests."""
    routes = APIRouter(tags=["Health"])
    thread = anyio.CapacityLimiter(1)

    @routes.get("/livez")
    async def livez() -> Alive:
        """Whether the process is there and answers; needs no key."""
        return Alive()

    @routes.get("/readyz", responses={503: {"model": Ready, "description": "A part of the server has failed"}})
    async def readyz() -> Ready:
        """Whether database, disk, watch and engines work; needs no key. 503 says which of them does not."""
        found = readiness.overdue()
        with anyio.move_on_after(CHECK_SECONDS):
            found = await anyio.to_thread.run_sync(readiness.look, limiter=thread, abandon_on_cancel=True)
        if found.status != "ok":
            return JSONResponse(found.model_dump(), 503, {"retry-after": "5"})  # type: ignore[return-value]
        return found

    return routes


def database_answers(store: Store) -> bool:
    """Whether the database can be read now."""
    with store.database.read() as session:
        return session.execute(text("SELECT 1")).scalar() == 1


def disk_has_room(store: Store) -> bool:
    """Whether the store's directory is there and has room for what jobs and uploads write next."""
    return store.directory.is_dir() and free_bytes(store.directory) > LEAST_FREE_BYTES


class EnginesWork:
    """Whether no engine's process was lost a moment ago.

    One comes back when it is asked next. Who is told that it failed may send nobody, so that it is not told for ever.
    """

    def __init__(self, engines: Callable[[], Iterable[Engine]], clock: Callable[[], float] = time.monotonic) -> None:
        self._engines, self._clock = engines, clock
        self._since: dict[int, float] = {}

    def __call__(self) -> bool:
        now = self._clock()
        failed = [id(engine) for engine in self._engines() if engine.failed()]
        self._since = {number: self._since.get(number, now) for number in failed}
        return all(now - since > FAILED_SECONDS for since in self._since.values())


def _works(check: Check) -> bool:
    try:
        return check()
    except (PostilError, OSError):
        return False
