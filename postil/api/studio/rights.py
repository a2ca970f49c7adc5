"""Which models may be called: for keys with the scope admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from postil.api.bodies import Body, StrictRoute
from postil.api.house import Caller, TheHouse, may
from postil.api.lists import checked_name
from postil.api.refusals import documented

if TYPE_CHECKING:
    from postil.store.tables import Model

router = APIRouter(route_class=StrictRoute, tags=["Studio: rights"], responses=documented())


class ReleaseBody(Body):
    """Which model, and why."""

    model: str = Field(min_length=1, max_length=255)
    reason: str = Field(min_length=1, max_length=1000)


class Released(BaseModel):
    """Whether a model may be called, and what its evaluation said."""

    model: str
    live: bool
    verdict: dict[str, Any] | None


class LogEntry(BaseModel):
    """What happened to a model."""

    action: str
    by: str
    reason: str
    created_at: int


class Log(BaseModel):
    """Oldest first."""

    object: Literal["list"] = "list"
    data: list[LogEntry]


@router.post("/models/allow", dependencies=[may("admin")])
def allow_model(body: ReleaseBody, house: TheHouse, caller: Caller) -> Released:
    """Let a model be called whatever its evaluation said. It is logged who said so and why."""
    name = checked_name(body.model, "model")
    return _released(house.store.models.allow(caller.project, name, caller.id, body.reason))


@router.post("/models/withdraw", dependencies=[may("admin")])
def withdraw_model(body: ReleaseBody, house: TheHouse, caller: Caller) -> Released:
    """Let a model not be called any more."""
    name = checked_name(body.model, "model")
    return _released(house.store.models.withdraw(caller.project, name, caller.id, body.reason))


@router.get("/models/release", dependencies=[may("read")])
def model_release(model: Annotated[str, Query(max_length=255)], house: TheHouse, caller: Caller) -> Released:
    """Whether a model may be called."""
    return _released(house.store.models.get(caller.project, checked_name(model, "model")))


@router.get("/models/log", dependencies=[may("read")])
def model_log(model: Annotated[str, Query(max_length=255)], house: TheHouse, caller: Caller) -> Log:
    """What happened to a model."""
    rows = house.store.models.log(caller.project, checked_name(model, "model"))
    return Log(data=[LogEntry(action=r.action, by=r.by, reason=r.reason, created_at=r.created_at) for r in rows])


def _released(model: Model) -> Released:
    return Released(model=model.id, live=model.live, verdict=model.verdict)
