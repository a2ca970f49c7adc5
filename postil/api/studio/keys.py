"""The keys of a project: make, look, give another secret, revoke. For keys with the scope admin.

No key gives more than it has: what is made with a limited key draws on the same limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from postil.api.bodies import Body, StrictRoute
from postil.api.house import Caller, House, TheHouse, holds, may
from postil.api.lists import checked_name
from postil.api.refusals import documented, refused
from postil.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from postil.store.tables import Key

router = APIRouter(route_class=StrictRoute, tags=["Studio: keys"], responses=documented())


class KeyBody(Body):
    """A key of this project. A key for another project is made on the command line."""

    name: str = Field(min_length=1, max_length=100)
    scopes: list[Literal["read", "train", "serve", "admin"]] = Field(min_length=1, max_length=4)
    requests_per_minute: int | None = Field(None, ge=1, le=1_000_000)
    tokens_per_day: int | None = Field(None, ge=1, le=10**12)


class KeyObject(BaseModel):
    """A key without its secret; with it, once, when it is made or rotated.

    made_by: the key that it was made with. tokens_today: used and booked since 00:00 UTC, of a key with a limit.
    """

    id: str
    object: Literal["postil.key"] = "postil.key"
    name: str
    project: str
    scopes: list[str]
    requests_per_minute: int | None
    tokens_per_day: int | None
    tokens_today: int
    made_by: str | None
    created_at: int
    rotated_at: int | None
    revoked_at: int | None
    secret: str | None = None


class KeyList(BaseModel):
    """Oldest first."""

    object: Literal["list"] = "list"
    data: list[KeyObject]


@router.get("/keys", dependencies=[may("admin")])
def list_keys(house: TheHouse, caller: Caller) -> KeyList:
    """The project's keys."""
    return KeyList(data=key_objects(house, house.store.keys.list(caller.project)))


@router.post("/keys", dependencies=[may("admin")])
def create_key(body: KeyBody, house: TheHouse, caller: Caller) -> KeyObject:
    """A new key; its secret is shown in this answer and never again. What a limited key makes draws on its limits."""
    beyond = [scope for scope in body.scopes if not holds(caller, scope)]
    if beyond:
        raise refused("scope_missing", scope=beyond[0])
    key, secret = house.store.keys.create(
        caller.project, body.name, body.scopes, requests_per_minute=body.requests_per_minute,
        tokens_per_day=body.tokens_per_day, maker=caller,
    )  # fmt: skip
    return _with_secret(house, key, secret)


@router.post("/keys/{key_id}/rotate", dependencies=[may("admin")])
def rotate_key(key_id: str, house: TheHouse, caller: Caller) -> KeyObject:
    """Another secret for the same key, shown in this answer and never again; the old one opens nothing any more."""
    _own(house, caller, key_id)
    return _with_secret(house, *house.store.keys.rotate(key_id, caller))


@router.delete("/keys/{key_id}", dependencies=[may("admin")])
def revoke_key(
    key_id: str, house: TheHouse, caller: Caller,
    with_made: Annotated[bool, Query(description="the keys that were made with it, too")] = False,
) -> KeyObject:  # fmt: skip
    """From now on it opens nothing: sessions and streams that it opened end within seconds."""
    _own(house, caller, key_id)
    return key_objects(house, [house.store.keys.revoke(key_id, with_made=with_made)])[0]


def key_objects(house: House, keys: Sequence[Key]) -> list[KeyObject]:
    """Without their secrets."""
    today = house.store.tokens.today([key.id for key in keys])
    names = [name for name in KeyObject.model_fields if name not in ("object", "secret", "tokens_today")]
    return [
        KeyObject(**{name: getattr(key, name) for name in names}, tokens_today=today.get(key.id, 0)) for key in keys
    ]


def _with_secret(house: House, key: Key, secret: str) -> KeyObject:
    return key_objects(house, [key])[0].model_copy(update={"secret": secret})


def _own(house: House, caller: Key, key_id: str) -> None:
    """Raises StoreError `key_not_found` for a key of another project."""
    checked_name(key_id, "key")
    if key_id not in {key.id for key in house.store.keys.list(caller.project)}:
        raise StoreError("key_not_found", key=key_id[:80])
