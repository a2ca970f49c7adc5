"""Models: bases on this machine, fine-tuned models and their checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from postil.api.bodies import StrictRoute
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lanes import lane
from postil.api.lists import checked_name
from postil.api.refusals import documented, refused
from postil.errors import StoreError
from postil.store import LINE

if TYPE_CHECKING:
    from postil.records import Base
    from postil.store.tables import Line, Model

router = APIRouter(route_class=StrictRoute, tags=["Models"], responses=documented())


class ModelObject(BaseModel):
    """Something that can be named as `model`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All of them; this list has no pages."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class ModelDeleted(BaseModel):
    """What is left of a model."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


def organisation(project: str) -> str:
    """What OpenAI's objects call the owner."""
    return f"org-{project.removeprefix('proj_')}"


@router.get("/models", dependencies=[may("read", "serve")])
def list_models(house: TheHouse, caller: Caller) -> ModelList:
    """Fine-tuned models and checkpoints, newest first, then business lines, then the bases."""
    tuned = [_tuned(row) for row in house.store.models.list(caller.project)]
    lines = [_line(row) for row in house.store.lines.list(caller.project)]
    return ModelList(data=[*tuned, *lines, *(_base(base) for base in house.bases())])


@router.get("/models/{model:path}", dependencies=[may("read", "serve")])
def retrieve_model(model: str, house: TheHouse, caller: Caller) -> ModelObject:
    """One model. A slash in its name may come as it is or as %2F."""
    base = _find_base(house, checked_name(model, "model"))
    if model.startswith(LINE):
        return _line(house.store.lines.get(caller.project, model))
    return _base(base) if base else _tuned(house.store.models.get(caller.project, model))


@router.delete("/models/{model:path}", dependencies=[may("train")])
@lane("engines")
def delete_model(model: str, house: TheHouse, caller: Caller) -> ModelDeleted:
    """Delete a fine-tuned model or checkpoint, unless a job that is not finished needs it."""
    if _find_base(house, checked_name(model, "model")):
        raise refused("base_not_deletable", model=model)
    house.delete(caller.project, model, caller.id)
    return ModelDeleted(id=model)


def _find_base(house: House, name: str) -> Base | None:
    return next((base for base in house.bases() if base.name == name), None)


def _base(base: Base) -> ModelObject:
    if base.path is None:
        raise StoreError("model_not_found", model=base.name)
    return ModelObject(id=base.name, created=int(base.path.stat().st_mtime), owned_by=base.family or "local")


def _line(row: Line) -> ModelObject:
    return ModelObject(id=LINE + row.name, created=row.updated_at, owned_by=organisation(row.project))


def _tuned(row: Model) -> ModelObject:
    return ModelObject(id=row.id, created=row.created_at, owned_by=organisation(row.project))
