"""What the doctor says of a job, and the job again with other settings: the fix in one click."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from postil.api.bodies import Body, StrictRoute
from postil.api.house import Caller, House, TheHouse, may
from postil.api.once import fingerprint, once
from postil.api.openai.job_shown import JobObject
from postil.api.openai.jobs import placed, trained
from postil.api.openai.jobs import shown as shown_job
from postil.api.refusals import Refused, documented
from postil.api.studio.tasks import any_job
from postil.errors import JobError, PlanError, StoreError
from postil.evaluate import Case, diagnose, read_evaluation
from postil.jobs import Order
from postil.plan import check_settings, machine
from postil.records import Finding, Plan
from postil.store import read_json

if TYPE_CHECKING:
    from postil.store.tables import Job

PARTS = ("training", "validation", "test")
OPENAI_NAMES = ("n_epochs", "batch_size")

router = APIRouter(route_class=StrictRoute, tags=["Studio: doctor"], responses=documented(409))


class Change(BaseModel):
    """A field of the plan, as it is and as it would be."""

    now: Any
    then: Any


class FindingObject(BaseModel):
    """Something that is wrong, in a sentence; what to do; and the settings with which `again` would do it."""

    code: str
    severity: Literal["error", "warning", "advice"]
    message: str
    fix: str
    settings: dict[str, Any]
    changes: dict[str, Change]
    values: dict[str, Any]


class FindingList(BaseModel):
    """The worst first; none: nothing is wrong."""

    object: Literal["list"] = "list"
    data: list[FindingObject]


class AgainBody(Body):
    """Plan fields by name, with their new values."""

    settings: dict[str, Any] = Field(default_factory=dict, max_length=100)
    suffix: str | None = Field(None, min_length=1, max_length=64)


class EvaluationRows(BaseModel):
    """An evaluation with every question and both answers."""

    object: Literal["postil.evaluation"] = "postil.evaluation"
    job: str
    base: dict[str, float]
    tuned: dict[str, float]
    verdict: dict[str, Any]
    readiness: dict[str, Any] | None = None  # whether the answers can be used; None: made before there were levels
    forgetting: float | None
    others: dict[str, dict[str, float]] = Field(default_factory=dict)  # plain means, by name
    against: dict[str, dict[str, Any]] = Field(default_factory=dict)  # the verdict against each of them
    confusion: dict[str, Any] | None = None  # labels and counts, where the task has labels
    rows: list[dict[str, Any]]


@router.get("/jobs/{job_id}/findings", dependencies=[may("read")])
def findings(job_id: str, house: TheHouse, caller: Caller) -> FindingList:
    """What is wrong with a training, while it runs and after it ended, in the caller's language."""
    job = trained(house, caller, job_id)
    case = case_of(house, job)
    return FindingList(data=[_shown(finding, case.plan) for finding in diagnose(case)])


@router.post("/jobs/{job_id}/again", response_model=JobObject, dependencies=[may("train")])
def train_again(job_id: str, request: Request, body: AgainBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Order the same training with other settings: those of a finding, for example."""
    job = trained(house, caller, job_id)
    try:
        settings = check_settings(body.settings)
    except PlanError as error:
        raise Refused(error, param=f"settings.{error.values.get('name', '')}"[:80]) from error
    order = order_again(job, house.queue.labels([job.id])[job.id], settings, body.suffix)

    def make(reply: str | None) -> JobObject:
        return shown_job(house, placed(house, caller, order, reply))

    def again(new_id: str) -> JobObject:
        return shown_job(house, house.queue.get(caller.project, new_id))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again, retried=True)


@router.get("/jobs/{job_id}/evaluation", dependencies=[may("read")])
def evaluation_rows(job_id: str, house: TheHouse, caller: Caller) -> EvaluationRows:
    """The proof of a training, or an evaluation, row by row: question, reference, both answers and their scores."""
    job = any_job(house, caller, job_id)
    told = evaluation_of(house, job)
    return EvaluationRows.model_validate({"job": job.id, **told})


def evaluation_of(house: House, job: Job) -> dict[str, Any]:
    """What evaluation.json holds. Raises JobError `job_not_evaluated`."""
    try:
        if job.kind == "training" and job.fine_tuned_model:
            model = house.store.models.get(job.project, job.fine_tuned_model)
            file = house.store.directory / model.directory / "evaluation.json"
            if file.exists():
                told: dict[str, Any] = read_json(file)
                return told
        if job.kind == "evaluation" and job.result_files:
            return _content(house, job)
    except StoreError as error:
        if not error.code.endswith("_not_found"):
            raise
    raise JobError("job_not_evaluated", job=job.id)


def _content(house: House, job: Job) -> dict[str, Any]:
    with house.store.files.open(house.store.files.get(job.project, job.result_files[0])) as file:
        told: dict[str, Any] = json.loads(file.read())
    return told


def case_of(house: House, job: Job) -> Case:
    """A job as the doctor looks at it: from its rows in the database, and from its proof once it has one."""
    known = {name: value for name, value in job.resolved.items() if name in Plan.model_fields}
    examples = job.resolved.get("examples") or {}
    losses, _ = house.queue.losses(job.project, job.id)
    error = (str(job.error.get("postil")), job.error.get("values") or {}) if job.error else None
    sizes = [int(examples.get(part, 0)) for part in PARTS]
    return Case(
        plan=Plan.model_validate(known),
        parts=(sizes[0], sizes[1], sizes[2]),
        history=losses.lines(),
        result=job.result,
        evaluation=_proof(house, job),
        told=house.queue.codes(job),
        error=error,
        memory=machine().memory_bytes,
    )


def _proof(house: House, job: Job) -> Any:
    if not job.fine_tuned_model:
        return None
    try:
        model = house.store.models.get(job.project, job.fine_tuned_model)
    except StoreError:  # deleted since
        return None
    return read_evaluation(house.store.directory / model.directory)


def order_again(job: Job, labels: dict[str, str], settings: dict[str, Any], suffix: str | None) -> Order:
    """The job's order with these settings in place of its own."""
    worker = job.order
    asked = dict(job.request.get("hyperparameters", {}))
    asked |= {name: settings[name] for name in OPENAI_NAMES if name in settings}
    own = {**job.request.get("x_postil", {}), "again_of": job.id, "settings": settings}
    return Order(
        kind="training",
        model=job.model,
        training_file=job.training_file or "",
        validation_file=job.validation_file,
        suffix=suffix or job.suffix,
        seed=settings.get("seed", job.seed),
        settings={**worker["settings"], **settings},
        learning_rate_multiplier=worker["learning_rate_multiplier"],
        preset=worker["preset"],
        reading=worker["reading"],
        metadata=labels,
        request={**job.request, "hyperparameters": asked, "x_postil": own},
        priority=job.priority,
    )


def _shown(finding: Finding, plan: Plan) -> FindingObject:
    now = plan.model_dump()
    changes = {name: Change(now=now[name], then=value) for name, value in finding.settings.items()}
    return FindingObject(**finding.as_json(), changes=changes)
