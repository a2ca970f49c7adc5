"""What a page asks of the house, for the one person who looks at it: in their language, for their project.

Pages keep nothing: what they show is asked for here, and what stands here is in the store. Every call that waits for
the disk, the database or another process runs on a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request

from postil.api import CommandRefused, House, Name, Refused, holds, lane_of
from postil.errors import PostilError
from postil.locales import knows, language, say, speak, speak_to_clients

T = TypeVar("T")


@dataclass(frozen=True)
class Desk:
    """A person at a page."""

    house: House
    key: Any  # a Key; None for a rater
    lang: str
    cookies: Mapping[str, str] = field(default_factory=dict)

    @property
    def project(self) -> str:
        return str(self.key.project)

    def may(self, *scopes: str) -> bool:
        """Whether this person's key has one of `scopes`: what a route asks for is what a page asks for."""
        return self.key is not None and holds(self.key, *scopes)

    def say(self, key: str, **values: Any) -> str:
        """The sentence `key` in this person's language."""
        speak_to_clients()
        return say(key, self.lang, **values)

    async def do(self, work: Callable[..., T], *arguments: Any, lane: Name | None = None, **named: Any) -> T:
        """Run `work` on a thread, in this person's language and in their project's turn.

        lane: the class of work, where the function itself does not say it. Raises Refused `too_busy`.
        """
        speak(self.lang)
        speak_to_clients()
        who = self.project if self.key is not None else "raters"
        return await self.house.lanes.run(lane or lane_of(work, "reads"), who, work, *arguments, **named)

    def words(self, error: Exception) -> tuple[str, str, str]:
        """What to say of an error: what happened, what to do, and its code."""
        speak_to_clients()
        if isinstance(error, Refused):
            error = error.error
        if isinstance(error, CommandRefused):
            return error.cause, self._here(error.code) or error.remedy, error.code
        if isinstance(error, PostilError):
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
    return Desk(request.app.state.house, request.scope["state"]["key"], language(), dict(request.cookies))


def adapter_directory(desk: Desk, model: str) -> Path:
    """Where the adapter of a model of this project lies. Raises StoreError `model_not_found`."""
    row = desk.house.store.models.get(desk.project, model)
    return desk.house.store.directory / str(row.directory)


def named(rows: Sequence[Any]) -> dict[str, Any]:
    """Rows by their id."""
    return {str(row.id): row for row in rows}
