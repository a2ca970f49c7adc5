"""Fine-tuning jobs: ordered, listed, watched, cancelled, paused and resumed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from postil.api.bodies import StrictRoute, writable
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lists import NAME, After, ListOf, checked_name, limited, listed
from postil.api.once import fingerprint, once
from postil.api.openai.job_order import CreateJob, order_of
from postil.api.openai.job_shown import (
    CheckpointObject,
    EventObject,
    JobObject,
    checkpoint_object,
    event_object,
    job_object,
)
from postil.api.refusals import Refused, documented, refused
from postil.errors import JobError, StoreError
from postil.jobs import Order

if TYPE_CHECKING:
    from postil.store.tables import Job, Key

METADATA = re.compile(r"metadata\[(.{1,64})\]\Z", re.DOTALL)

router = APIRouter(route_class=StrictRoute, tags=["Fine-tuning"], responses=documented(409),
                   prefix="/fine_tuning/jobs")  # fmt: skip


@router.post("", response_model=JobObject, dependencies=[may("train")])
def create_job(request: Request, body: CreateJob, house: TheHouse, caller: Caller) -> JSONResponse:
    """Order a fine-tuned model."""
    order = order_of(body)

    def make(reply: str | None) -> JobObject:
        return shown(house, placed(house, caller, order, reply))

    def again(job_id: str) -> JobObject:
        return shown(house, house.queue.get(caller.project, job_id))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again, retried=True)


def placed(house: House, caller: Key, order: Order, reply: str | None) -> Job:
    """A job in the queue. What its order names and is not there is the order's fault: 400, with the parameter."""
    files = {"training_file": order.training_file, "validation_file": order.validation_file}
    for parameter, name in files.items():
        try:
            if name is not None:
                house.store.files.get(caller.project, checked_name(name, "file"))
        except StoreError as error:
            raise Refused(error, param=parameter, status=400) from error
    if not NAME.match(order.model):
        raise Refused(StoreError("model_not_found", model="-"), param="model", status=400)
    if order.kind == "training" and house.lacks(order.model):
        raise Refused(JobError("model_not_here", model=order.model), param="model", status=400)
    try:
        return house.queue.create(caller.project, order, reply=reply)
    except StoreError as error:
        known = error.code in ("model_not_found", "file_not_found")
        param = "model" if error.code == "model_not_found" else None
        raise (Refused(error, param=param, status=400) if known else error) from error
    except JobError as error:
        raise Refused(error, param="model" if error.code.startswith("model_") else None, status=400) from error


@router.get("", dependencies=[may("read")])
def list_jobs(
    request: Request, house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)]
) -> ListOf[JobObject]:
    """The project's jobs, newest first. `metadata[key]=value`: those that have it; `metadata=null`: those without."""
    wanted, unlabelled = _metadata(request)
    page = house.queue.list(caller.project, after=after, limit=limit, metadata=wanted, unlabelled=unlabelled)
    labels = house.queue.labels([job.id for job in page.rows])
    return listed([job_object(job, labels[job.id], house.queue.position(job)) for job in page.rows], page.more)


def _metadata(request: Request) -> tuple[dict[str, str], bool]:
    wanted: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        found = METADATA.match(name)
        if found and writable(name) and writable(value):
            wanted[found[1]] = value
        elif name.startswith("metadata[") or (name == "metadata" and value not in ("", "null")):
            raise refused("invalid_value", param="metadata", detail="metadata[key]=value, metadata=null")
    return wanted, request.query_params.get("metadata") == "null"


@router.get("/{job_id}", dependencies=[may("read")])
def retrieve_job(job_id: str, house: TheHouse, caller: Caller) -> JobObject:
    """One job."""
    return shown(house, trained(house, caller, job_id))


@router.post("/{job_id}/cancel", response_model=JobObject, dependencies=[may("train")])
def cancel_job(job_id: str, request: Request, house: TheHouse, caller: Caller) -> JSONResponse:
    """End a job for good, at once."""
    return _acted(job_id, request, house, caller, house.queue.cancel)


@router.post("/{job_id}/pause", response_model=JobObject, dependencies=[may("train")])
def pause_job(job_id: str, request: Request, house: TheHouse, caller: Caller) -> JSONResponse:
    """Let a job rest; one that runs first saves a checkpoint."""
    return _acted(job_id, request, house, caller, house.queue.pause)


@router.post("/{job_id}/resume", response_model=JobObject, dependencies=[may("train")])
def resume_job(job_id: str, request: Request, house: TheHouse, caller: Caller) -> JSONResponse:
    """Let a paused job go on."""
    return _acted(job_id, request, house, caller, house.queue.resume)


@router.get("/{job_id}/events", dependencies=[may("read")])
def list_events(
    job_id: str, house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)]
) -> ListOf[EventObject]:
    """What the job told, newest first."""
    job = trained(house, caller, job_id)
    page = house.queue.events(caller.project, job.id, after=after, limit=limit)
    return listed([event_object(row) for row in page.rows], page.more)


@router.get("/{job_id}/checkpoints", dependencies=[may("read")])
def list_checkpoints(
    job_id: str, house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(10)]
) -> ListOf[CheckpointObject]:
    """The job's checkpoints, newest first."""
    job = trained(house, caller, job_id)
    page = house.queue.checkpoints(caller.project, job.id, after=after, limit=limit)
    return listed([checkpoint_object(row) for row in page.rows], page.more)


def shown(house: House, job: Job) -> JobObject:
    return job_object(job, house.queue.labels([job.id])[job.id], house.queue.position(job))


def trained(house: House, caller: Key, job_id: str) -> Job:
    """A training job; evaluations and the like are no fine-tuning jobs. Raises JobError `job_not_found`."""
    if not NAME.match(job_id):
        raise JobError("job_not_found", job="-")
    job = house.queue.get(caller.project, job_id)
    if job.kind != "training":
        raise JobError("job_not_found", job=job_id)
    return job


def _acted(job_id: str, request: Request, house: House, caller: Key, act: Callable[[str, str], Job]) -> JSONResponse:
    job = trained(house, caller, job_id)

    def make(reply: str | None) -> JobObject:
        return shown(house, act(caller.project, job.id))

    return once(request, house, caller, fingerprint(""), make)
