"""Who may do what, and which models may be called: for keys with the scope admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from postil.api.bodies import Body, StrictRoute
from postil.api.house import Caller, TheHouse, may
from postil.api.lists import checked_name
from postil.api.refusals import documented
from postil.errors import StoreError

if TYPE_CHECKING:
    from postil.store.tables import Key, Model

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


class KeyBody(Body):
    """A key of this project. A key for another project is made on the command line."""

    name: str = Field(min_length=1, max_length=100)
    scopes: list[Literal["read", "train", "serve", "admin"]] = Field(min_length=1, max_length=4)
    requests_per_minute: int | None = Field(None, ge=1, le=1_000_000)
    tokens_per_day: int | None = Field(None, ge=1, le=10**12)


class KeyObject(BaseModel):
    """A key without its secret; with it, once, when it is made."""

    id: str
    object: Literal["postil.key"] = "postil.key"
    name: str
    project: str
    scopes: list[str]
    requests_per_minute: int | None
    tokens_per_day: int | None
    created_at: int
    revoked_at: int | None
    secret: str | None = None


class KeyList(BaseModel):
    """Oldest first."""

    object: Literal["list"] = "list"
    data: list[KeyObject]


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


@router.get("/keys", dependencies=[may("admin")])
def list_keys(house: TheHouse, caller: Caller) -> KeyList:
    """The project's keys."""
    return KeyList(data=[_shown(key) for key in house.store.keys.list(caller.project)])


@router.post("/keys", dependencies=[may("admin")])
def create_key(body: KeyBody, house: TheHouse, caller: Caller) -> KeyObject:
    """A new key; its secret is shown in this answer and never again."""
    key, secret = house.store.keys.create(
        caller.project, body.name, body.scopes, requests_per_minute=body.requests_per_minute,
        tokens_per_day=body.tokens_per_day,
    )  # fmt: skip
    return _shown(key).model_copy(update={"secret": secret})


@router.delete("/keys/{key_id}", dependencies=[may("admin")])
def revoke_key(key_id: str, house: TheHouse, caller: Caller) -> KeyObject:
    """From now on it opens nothing."""
    checked_name(key_id, "key")
    if key_id not in {key.id for key in house.store.keys.list(caller.project)}:
        raise StoreError("key_not_found", key=key_id[:80])
    return _shown(house.store.keys.revoke(key_id))


def _released(model: Model) -> Released:
    return Released(model=model.id, live=model.live, verdict=model.verdict)


def _shown(key: Key) -> KeyObject:
    return KeyObject.model_validate(
        {name: getattr(key, name) for name in KeyObject.model_fields if name not in ("object", "secret")}
    )
