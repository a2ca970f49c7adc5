"""Who did what in a project: for keys with the scope admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from postil.api.bodies import StrictRoute
from postil.api.house import Caller, TheHouse, may
from postil.api.lists import After, ListOf, limited, listed
from postil.api.refusals import documented
from postil.locales import say

if TYPE_CHECKING:
    from postil.store.tables import AuditLine

router = APIRouter(route_class=StrictRoute, tags=["Studio: audit"], responses=documented())


class AuditObject(BaseModel):
    """An act: when, by which key, from which address, on what. `words`: the act in the language of the caller.

    times: how often, from created_at to last_at, where the same was done again within an hour.
    """

    id: str
    object: Literal["postil.audit_line"] = "postil.audit_line"
    project: str
    key_id: str
    key_name: str
    act: str
    words: str
    target: str
    reason: str
    address: str
    times: int
    created_at: int
    last_at: int


@router.get("/audit", dependencies=[may("admin")])
def list_audit(
    house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)],
    act: Annotated[str | None, Query(max_length=40)] = None,
    key: Annotated[str | None, Query(max_length=64, description="id of the key that acted")] = None,
) -> ListOf[AuditObject]:  # fmt: skip
    """What was done in this project, newest first. Lines are kept for a year, of each kind the newest 10,000."""
    page = house.store.audit.list(caller.project, act=act, key=key, after=after, limit=limit)
    return listed([audit_object(row) for row in page.rows], page.more)


def audit_object(row: AuditLine) -> AuditObject:
    return AuditObject(
        id=row.id, project=row.project, key_id=row.key_id, key_name=row.key_name, act=row.act,
        words=say(f"audit.act.{row.act}"), target=row.object, reason=row.reason, address=row.address, times=row.times,
        created_at=row.created_at, last_at=row.last_at,
    )  # fmt: skip
