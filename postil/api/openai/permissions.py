"""Which other projects may use a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from postil.api.bodies import Body, StrictRoute
from postil.api.house import Caller, TheHouse, may
from postil.api.lists import After, ListOf, checked_name, limited, listed
from postil.api.once import fingerprint, once
from postil.api.refusals import documented

if TYPE_CHECKING:
    from postil.store.tables import Permission

router = APIRouter(route_class=StrictRoute, tags=["Checkpoint permissions"], responses=documented(),
                   prefix="/fine_tuning/checkpoints/{checkpoint:path}/permissions")  # fmt: skip


class CreatePermissions(Body):
    """Projects that shall be allowed."""

    project_ids: list[Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]] = Field(
        min_length=1, max_length=100
    )


class PermissionObject(BaseModel):
    """One project that may use it."""

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: int
    project_id: str


class PermissionDeleted(BaseModel):
    """What is left of a permission."""

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    deleted: Literal[True] = True


def _shown(row: Permission) -> PermissionObject:
    return PermissionObject(id=row.id, created_at=row.created_at, project_id=row.project)


@router.post("", response_model=ListOf[PermissionObject], dependencies=[may("admin")])
def create_permissions(
    checkpoint: str, request: Request, body: CreatePermissions, house: TheHouse, caller: Caller
) -> JSONResponse:
    """Let other projects use a checkpoint or a fine-tuned model."""
    checked_name(checkpoint, "model")

    def make(reply: str | None) -> ListOf[PermissionObject]:
        made = house.store.models.permit(caller.project, checkpoint, body.project_ids)
        return listed([_shown(row) for row in made], False)

    return once(request, house, caller, fingerprint(body.model_dump_json()), make)


@router.get("", dependencies=[may("read")])
def list_permissions(
    checkpoint: str, house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(10)],
    order: Annotated[Literal["ascending", "descending"], Query()] = "descending",
    project_id: Annotated[str | None, Query(max_length=64)] = None,
) -> ListOf[PermissionObject]:  # fmt: skip
    """Who may use it, newest first unless `order` says otherwise."""
    page = house.store.models.permissions(
        caller.project, checked_name(checkpoint, "model"), for_project=project_id or None, after=after,
        limit=limit, ascending=order == "ascending",
    )  # fmt: skip
    return listed([_shown(row) for row in page.rows], page.more)


@router.delete("/{permission_id}", dependencies=[may("admin")])
def delete_permission(checkpoint: str, permission_id: str, house: TheHouse, caller: Caller) -> PermissionDeleted:
    """Take a permission back."""
    checked_name(permission_id, "permission")
    house.store.models.forbid(caller.project, checked_name(checkpoint, "model"), permission_id)
    return PermissionDeleted(id=permission_id)
