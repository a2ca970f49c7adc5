"""What a page asks of the house, for the one person who looks at it: in their language, for their project.

Pages keep nothing: what they show is asked for here, and what stands here is in the store. Every call that waits for
the disk, the database or another process runs on a thread.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request

from postil.api import CommandRefused, House, Name, Refused, address_of, holds, lane_of, refused
from postil.errors import PostilError
from postil.locales import knows, language, say, speak, speak_to_clients
from postil.store import Actor, act_as, looking
from postil.web.rights import needed, place_of

T = TypeVar("T")


_ACT: ContextVar[str] = ContextVar("act", default="")  # what the person does, by its name in the table of rights


@dataclass(frozen=True)
class Desk:
    """A person at a page. `page`: its path, by its name in the table of rights."""

    house: House
    key: Any  # a Key; None for a rater
    lang: str
    cookies: Mapping[str, str] = field(default_factory=dict)
    page: str = "/"
    address: str = ""

    @property
    def project(self) -> str:
        return str(self.key.project)

    def may(self, *scopes: str) -> bool:
        """Whether this person's key has one of `scopes`: what a route asks for is what a page asks for."""
        return self.key is not None and holds(self.key, *scopes)

    def can(self, name: str) -> bool:
        """Whether this person may open this page or do this act, by its name in the table of rights."""
        scopes = needed(name)
        return not scopes or self.may(*scopes)

    def may_open(self, path: str) -> bool:
        """Whether this person may go to this address of ours, which begins after the root."""
        return self.can(place_of(path))

    def say(self, key: str, **values: Any) -> str:
        """The sentence `key` in this person's language."""
        speak_to_clients()
        return say(key, self.lang, **values)

    def sign(self, currency: str) -> str:
        """What stands before an amount of this currency; nothing where no sign is known."""
        return self.say(f"money.{currency}") if knows(f"money.{currency}") else ""

    async def do(self, work: Callable[..., T], *arguments: Any, lane: Name | None = None, **named: Any) -> T:
        """Run `work` on a thread, in this person's language and as done by them, in their project's turn, if their key
        may still be here.

        lane: the class of work, where the function itself does not say it. Outside of `acting`, it can read and not
        write. Raises Refused `invalid_api_key`, `scope_missing`, `too_busy`.
        """
        speak(self.lang)
        speak_to_clients()
        if self.key is not None:
            act_as(Actor(self.key.id, self.key.name, self.key.project, self.address))

        def checked() -> T:
            self._check(self.page, _ACT.get())
            with nullcontext() if _ACT.get() else looking():
                return work(*arguments, **named)

        return await self.house.lanes.run(lane or lane_of(work, "reads"), self._holder, checked)

    @property
    def _holder(self) -> str:
        """Whose turn it is in a lane."""
        return self.project if self.key is not None else self.address

    @asynccontextmanager
    async def acting(self, name: str) -> AsyncIterator[None]:
        """Within it this person does what the table of rights calls `name`: what `do` runs may write.

        Raises Refused `invalid_api_key`, `scope_missing`: then, and at each `do`, the store is asked what the key may.
        """
        await self.still_may(name)
        before = _ACT.set(name)
        try:
            yield
        finally:
            _ACT.reset(before)

    async def still_may(self, *names: str) -> None:
        """Raise Refused if this person's key may not be at this page any more, or not do these acts."""
        await self.house.lanes.run("keys", self.address, self._check, self.page, *names)

    def _check(self, *names: str) -> None:
        """Refuse what this person's key may not do, as it is now and not as it was when the page was opened."""
        key = self.key and self.house.store.keys.current(self.key)
        if self.key and not key:
            raise refused("invalid_api_key")
        for scopes in (needed(name) for name in names if name):
            if scopes and not (key and holds(key, *scopes)):
                raise refused("scope_missing", scope=scopes[0])

    def words(self, error: Exception) -> tuple[str, str, str]:
        """What to say of an error: what happened, what to do, and its code."""
        speak_to_clients()
        if isinstance(error, Refused):
            error = error.error
        if isinstance(error, CommandRefused):
            return error.cause, self._here(error.code) or error.remedy, error.code
        if isinstance(error, PostilError):
            if error.code == "scope_missing":  # as the page of the keys calls it
                scope = self.say(f"web.keys.scope.{error.values['scope']}.name")
                error = type(error)(error.code, scope=scope)
            return error.cause(self.lang), self._here(error.code) or error.remedy(self.lang), error.code
        return self.say("error.unexpected.cause", what=type(error).__name__), self.say("error.unexpected.remedy"), ""

    def remedy(self, code: str, **values: Any) -> str:
        """What to do about the error `code`, for somebody who has no command line before them."""
        return self._here(code) or self.say(f"error.{code}.remedy", **values)

    def _here(self, code: str) -> str:
        """What to do on these pages; nothing where it is the same everywhere."""
        return self.say(f"web.error.{code}.remedy") if knows(f"web.error.{code}.remedy") else ""

    def fix(self, issue: Mapping[str, Any]) -> str:
        """What to do about an issue in the data, for somebody who has no command line before them."""
        code = str(issue["code"])
        key = "web.issue.personal.fix" if code.startswith("personal_") else f"web.issue.{code}.fix"
        return self.say(key) if knows(key) else str(issue["fix"])


REFUSALS = (PostilError, Refused, CommandRefused)  # what a person can be told of; anything else is a fault of ours


def desk_of(request: Request) -> Desk:
    """The desk of whoever asked for this page; SignIn has seen to it that there is somebody."""
    page = str(request.scope["nicegui_page_path"])
    key, address = request.scope["state"]["key"], address_of(request)
    return Desk(request.app.state.house, key, language(), dict(request.cookies), page, address)


def status_of(error: Exception) -> int:
    """What HTTP calls an error that a person is told of."""
    if isinstance(error, Refused):
        return error.status
    return Refused(error).status if isinstance(error, PostilError) else 400


def adapter_directory(desk: Desk, model: str) -> Path:
    """Where the adapter of a model of this project lies. Raises StoreError `model_not_found`."""
    row = desk.house.store.models.get(desk.project, model)
    return desk.house.store.directory / str(row.directory)


def named(rows: Sequence[Any]) -> dict[str, Any]:
    """Rows by their id."""
    return {str(row.id): row for row in rows}
