"""Jobs of other services, taken over: their description becomes a job of ours, with a list of what was carried over."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from postil.api.bodies import Body, StrictRoute
from postil.api.house import Caller, TheHouse, may
from postil.api.once import fingerprint, once
from postil.api.openai.job_shown import JobObject
from postil.api.openai.jobs import placed
from postil.api.openai.jobs import shown as shown_job
from postil.api.refusals import Refused, documented, refused
from postil.errors import JobError
from postil.jobs import Migration, migrate
from postil.plan import known

router = APIRouter(route_class=StrictRoute, tags=["Studio: imports"], responses=documented(409))


class ImportBody(Body):
    """`description`: what the service's API returned, or what one posts to it. Its data come as files of this server.

    `model`: in place of a model that the catalogue has not. Without `training_file` nothing is ordered: the answer
    says what would be carried over.
    """

    description: dict[str, Any]
    training_file: str | None = Field(None, min_length=1, max_length=80)
    validation_file: str | None = Field(None, min_length=1, max_length=80)
    model: str | None = Field(None, min_length=1, max_length=255)


class Carried(BaseModel):
    """A field of theirs, and what it became."""

    theirs: str
    value: Any
    ours: str
    becomes: Any


class LeftOut(BaseModel):
    """A field of theirs that was not carried over, and why."""

    theirs: str
    value: Any
    reason: str
    why: str


class ImportObject(BaseModel):
    """What became of a description; `job` if one was ordered. `base`: their model, if the catalogue has it."""

    object: Literal["postil.import"] = "postil.import"
    service: Literal["dashscope", "openai", "together", "azure"]
    base: str | None
    settings: dict[str, Any]
    mapped: list[Carried]
    left: list[LeftOut]
    job: JobObject | None


@router.post("/imports", response_model=ImportObject, dependencies=[may("train")])
def create_import(request: Request, body: ImportBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Order what a job of Bailian (DashScope), OpenAI, Together or Azure describes."""
    try:
        found = migrate(body.description, known(house.settings.home))
    except JobError as error:
        raise Refused(error, param="description") from error
    model, file = body.model or found.base, body.training_file
    if file and model is None:
        raise refused("missing_parameter", param="model")

    def make(reply: str | None) -> ImportObject:
        if file is None or model is None:
            return _shown(found, None)
        job = placed(house, caller, found.order(model, file, body.validation_file), reply)
        return _shown(found, shown_job(house, job))

    def again(job_id: str) -> ImportObject:
        return _shown(found, shown_job(house, house.queue.get(caller.project, job_id)))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again, retried=file is not None)


def _shown(found: Migration, job: JobObject | None) -> ImportObject:
    told = {name: value for name, value in found.as_json().items() if name in ImportObject.model_fields}
    return ImportObject.model_validate({**told, "job": job})
