"""Business lines: names that stay while the model behind them is switched, and switched back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from postil.api.bodies import Body, StrictRoute, Version
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lists import checked_name
from postil.api.refusals import Refused, documented, refused
from postil.errors import StoreError
from postil.store import LINE, line_version

if TYPE_CHECKING:
    from postil.store.tables import Line

router = APIRouter(route_class=StrictRoute, tags=["Studio: lines"], responses=documented())
FORM = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")


class LineBody(Body):
    """Which model a line is answered by from now on, and why. With `version`, only if nobody switched it since; "" for
    a line that is not there yet."""

    model: str = Field(min_length=1, max_length=255)
    reason: str = Field("", max_length=1000)
    title: str | None = Field(None, min_length=1, max_length=200)
    version: Version = None


class BackBody(Body):
    """Why the line goes back. With `version`, only if nobody switched it since."""

    reason: str = Field("", max_length=1000)
    version: Version = None


class LineObject(BaseModel):
    """A line. `callable`: what to give as `model` in a chat request."""

    name: str
    object: Literal["postil.line"] = "postil.line"
    title: str
    model: str
    callable: str
    live: bool
    created_at: int
    updated_at: int
    version: str


class LineList(BaseModel):
    """By name."""

    object: Literal["list"] = "list"
    data: list[LineObject]


class LineEntry(BaseModel):
    """A switch of a line: set or rolled_back."""

    action: str
    model: str
    by: str
    reason: str
    created_at: int


class LineLogObject(BaseModel):
    """Oldest first."""

    object: Literal["list"] = "list"
    data: list[LineEntry]


class LineDeleted(BaseModel):
    """What is left of a line."""

    name: str
    deleted: Literal[True] = True


@router.get("/lines", dependencies=[may("read", "serve")])
def list_lines(house: TheHouse, caller: Caller) -> LineList:
    """The project's business lines."""
    return LineList(data=[_shown(house, row) for row in house.store.lines.list(caller.project)])


@router.get("/lines/{line}", dependencies=[may("read", "serve")])
def retrieve_line(line: str, house: TheHouse, caller: Caller) -> LineObject:
    """One line."""
    return _shown(house, house.store.lines.get(caller.project, checked_name(line, "line")))


@router.post("/lines/{line}", dependencies=[may("admin")])
def set_line(line: str, body: LineBody, house: TheHouse, caller: Caller) -> LineObject:
    """Give a line its model; a new name makes a new line. Only a model that may be called now."""
    if not FORM.match(line):
        raise refused("invalid_value", param="line", detail="a-z 0-9 -")
    if body.model.startswith(LINE):
        raise refused("invalid_value", param="model", detail="ft:...")
    callee = house.find(caller.project, checked_name(body.model, "model"))
    row = house.store.lines.set(
        caller.project, line, callee.name, caller.id, body.reason, body.title, version=body.version
    )
    return _shown(house, row)


@router.post("/lines/{line}/back", dependencies=[may("admin")])
def roll_back_line(line: str, body: BackBody, house: TheHouse, caller: Caller) -> LineObject:
    """Give a line the model that it had before; again: the one before that."""
    name = checked_name(line, "line")
    return _shown(
        house, house.store.lines.roll_back(caller.project, name, caller.id, body.reason, version=body.version)
    )


@router.get("/lines/{line}/log", dependencies=[may("read")])
def line_log(line: str, house: TheHouse, caller: Caller) -> LineLogObject:
    """Every switch of a line."""
    rows = house.store.lines.log(caller.project, checked_name(line, "line"))
    return LineLogObject(data=[
        LineEntry(action=row.action, model=row.model, by=row.by, reason=row.reason, created_at=row.created_at)
        for row in rows
    ])  # fmt: skip


@router.delete("/lines/{line}", dependencies=[may("admin")])
def delete_line(line: str, house: TheHouse, caller: Caller) -> LineDeleted:
    """Give a name up; its model stays."""
    house.store.lines.delete(caller.project, checked_name(line, "line"))
    return LineDeleted(name=line)


def _shown(house: House, row: Line) -> LineObject:
    """With whether its model may be called now: it may have been withdrawn, or be gone."""
    try:
        house.find(row.project, row.model)
        live = True
    except (StoreError, Refused):
        live = False
    return LineObject(
        name=row.name,
        title=row.title,
        model=row.model,
        callable=LINE + row.name,
        live=live,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=line_version(row),
    )
