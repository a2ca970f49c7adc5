"""Work beside training: evaluations, filled sheets and exports; and what OpenAI has no word for with any job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from postil.api.bodies import Body, Metadata, StrictRoute
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lists import NAME, After, ListOf, limited, listed
from postil.api.once import fingerprint, once
from postil.api.openai.job_shown import JobFault, JobObject, fault
from postil.api.openai.jobs import placed, trained
from postil.api.openai.jobs import shown as shown_job
from postil.api.refusals import documented, refused
from postil.api.studio.data import Corrected, reading_of
from postil.errors import JobError
from postil.jobs import Order
from postil.records import Target

if TYPE_CHECKING:
    from postil.store.tables import Job, Key

KINDS = ("evaluation", "answers", "judgement", "base", "export")

router = APIRouter(route_class=StrictRoute, tags=["Studio: tasks"], responses=documented(409))


class TaskBody(Corrected):
    """What a fine-tuned model shall do with a file. What was put right in it counts for an evaluation; a sheet that is
    to be filled is given back as it is."""

    model: str = Field(min_length=1, max_length=255)
    metadata: Metadata | None = None
    priority: int | None = Field(None, ge=-100, le=100)


class ExportBody(Body):
    """What a fine-tuned model shall become for others. `type`: number type of the weights, where there is a choice."""

    model: str = Field(min_length=1, max_length=255)
    to: Target
    type: str | None = Field(None, pattern="^[a-z0-9_]{1,16}$")
    name: str | None = Field(None, pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    metadata: Metadata | None = None
    priority: int | None = Field(None, ge=-100, le=100)


class BaseBody(Body):
    """A base model of the catalogue."""

    model: str = Field(min_length=1, max_length=255)


class TaskObject(BaseModel):
    """An evaluation, a filled sheet, a judgement, an export or a download; `result` and `result_files` when it
    succeeded."""

    id: str
    object: Literal["postil.task"] = "postil.task"
    kind: str
    status: str
    model: str
    file: str
    created_at: int
    started_at: int | None
    finished_at: int | None
    estimated_finish: int | None
    progress: dict[str, Any]
    queue_position: int | None
    result: dict[str, Any] | None
    result_files: list[str]
    error: JobFault | None
    metadata: dict[str, str]


class JobDeleted(BaseModel):
    """What is left of a job; models that it made stay."""

    id: str
    deleted: Literal[True] = True


def shown(house: House, job: Job) -> TaskObject:
    return TaskObject(
        id=job.id, kind=job.kind, status=job.status, model=job.model, file=job.training_file or "",
        created_at=job.created_at, started_at=job.started_at, finished_at=job.finished_at,
        estimated_finish=job.estimated_finish, progress=dict(job.progress), queue_position=house.queue.position(job),
        result=job.result, result_files=list(job.result_files), error=fault(job),
        metadata=house.queue.labels([job.id])[job.id],
    )  # fmt: skip


@router.post("/evaluations", response_model=TaskObject, dependencies=[may("train")])
def create_evaluation(request: Request, body: TaskBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Let a fine-tuned model and its base answer the questions of a file, and say which is better."""
    return _created("evaluation", request, body, house, caller)


@router.post("/answers", response_model=TaskObject, dependencies=[may("train")])
def create_answers(request: Request, body: TaskBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Let a fine-tuned model fill a sheet with answers."""
    return _created("answers", request, body, house, caller)


@router.get("/evaluations", dependencies=[may("read")])
def list_evaluations(
    house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)]
) -> ListOf[TaskObject]:
    """The project's evaluations, newest first."""
    return listed_tasks("evaluation", house, caller, after, limit)


@router.get("/answers", dependencies=[may("read")])
def list_answers(
    house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)]
) -> ListOf[TaskObject]:
    """The project's filled sheets, newest first."""
    return listed_tasks("answers", house, caller, after, limit)


@router.post("/exports", response_model=TaskObject, dependencies=[may("train")])
def create_export(request: Request, body: ExportBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Make files of a fine-tuned model for others, with a certificate that they say the same."""
    wanted = {"to": body.to, "type": body.type, "name": body.name or body.model}
    order = Order(
        kind="export", model=body.model, training_file=None, metadata=body.metadata or {}, priority=body.priority or 0,
        settings={name: value for name, value in wanted.items() if value is not None},
    )  # fmt: skip
    return _placed(request, body, order, house, caller)


@router.get("/exports", dependencies=[may("read")])
def list_exports(
    house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)]
) -> ListOf[TaskObject]:
    """The project's exports, newest first."""
    return listed_tasks("export", house, caller, after, limit)


@router.post("/bases", response_model=TaskObject, dependencies=[may("train")])
def download_base(request: Request, body: BaseBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Download a base model of the catalogue onto this machine."""
    return _placed(request, body, Order(kind="base", model=body.model, training_file=None), house, caller)


@router.get("/tasks/{task_id}", dependencies=[may("read")])
def retrieve_task(task_id: str, house: TheHouse, caller: Caller) -> TaskObject:
    """One evaluation, filled sheet, judgement, export or download."""
    return shown(house, task(house, caller, task_id))


@router.post("/tasks/{task_id}/cancel", response_model=TaskObject, dependencies=[may("train")])
def cancel_task(task_id: str, request: Request, house: TheHouse, caller: Caller) -> JSONResponse:
    """End it for good."""
    job = task(house, caller, task_id)

    def make(reply: str | None) -> TaskObject:
        return shown(house, house.queue.cancel(caller.project, job.id))

    return once(request, house, caller, fingerprint(""), make)


@router.post("/jobs/{job_id}/keep", response_model=JobObject, dependencies=[may("train")])
def keep_job(job_id: str, request: Request, house: TheHouse, caller: Caller) -> JSONResponse:
    """Stop a training, and publish the best that it has."""
    job = trained(house, caller, job_id)

    def make(reply: str | None) -> JobObject:
        return shown_job(house, house.queue.keep(caller.project, job.id))

    return once(request, house, caller, fingerprint(""), make)


@router.delete("/jobs/{job_id}", dependencies=[may("train")])
def delete_job(job_id: str, house: TheHouse, caller: Caller) -> JobDeleted:
    """Forget an ended job of any kind, with its events and checkpoints."""
    house.queue.delete(caller.project, any_job(house, caller, job_id).id, caller.id)
    return JobDeleted(id=job_id)


def any_job(house: House, caller: Key, job_id: str) -> Job:
    """Raises JobError `job_not_found`."""
    if not NAME.match(job_id):
        raise JobError("job_not_found", job="-")
    return house.queue.get(caller.project, job_id)


def task(house: House, caller: Key, task_id: str) -> Job:
    """The same of a task, which no training is."""
    job = any_job(house, caller, task_id)
    if job.kind not in KINDS:
        raise JobError("job_not_found", job=task_id)
    return job


def _created(kind: Literal["evaluation", "answers"], request: Request, body: TaskBody, house: House, caller: Key
             ) -> JSONResponse:  # fmt: skip
    reading = reading_of(body)
    for name in ("edits", "without", "mask") if kind == "answers" else ():
        if name in reading:
            raise refused("unsupported_parameter", param=name)
    order = Order(
        kind=kind, model=body.model, training_file=body.file, metadata=body.metadata or {}, priority=body.priority or 0,
        reading=reading,
    )  # fmt: skip
    return _placed(request, body, order, house, caller)


def _placed(request: Request, body: Body, order: Order, house: House, caller: Key) -> JSONResponse:
    """The task of an order, made once however often it is asked for."""

    def make(reply: str | None) -> TaskObject:
        return shown(house, placed(house, caller, order, reply))

    def again(job_id: str) -> TaskObject:
        return shown(house, house.queue.get(caller.project, job_id))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again, retried=True)


def listed_tasks(kind: str, house: House, caller: Key, after: str | None, limit: int) -> ListOf[TaskObject]:
    """The project's tasks of this kind."""
    page = house.queue.list(caller.project, kinds=(kind,), after=after, limit=limit)
    return listed([shown(house, job) for job in page.rows], page.more)
