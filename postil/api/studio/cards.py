"""What is known of a model: from which data, plan and job it came, its proof, its notes, and what it is used for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from postil.api.bodies import Body, StrictRoute, Version
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lists import checked_name
from postil.api.refusals import documented
from postil.errors import JobError, StoreError
from postil.store import LINE, note_version, read_json

if TYPE_CHECKING:
    from postil.store.tables import Job, Key, Model

REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
SHOWN_JOBS = 50  # evaluations of a model, and trainings that went on from it

router = APIRouter(route_class=StrictRoute, tags=["Studio: models"], responses=documented())
Named = Annotated[str, Query(max_length=255)]


class NoteBody(Body):
    """A model, and what to write beside it; an empty text takes the note away. With `version`, only if nobody has
    written since; "" where there was no note."""

    model: str = Field(min_length=1, max_length=255)
    text: str = Field(max_length=20_000)
    version: Version = None


class NoteObject(BaseModel):
    """What stands beside a model."""

    model: str
    object: Literal["postil.note"] = "postil.note"
    text: str
    by: str | None
    updated_at: int | None
    version: str


class SourceFile(BaseModel):
    """A file that a job was given; `here` is false when it was deleted since."""

    id: str
    here: bool
    filename: str | None
    bytes: int | None
    sha256: str | None


class MadeBy(BaseModel):
    """The job that made a model. `started_from`: the base, or the fine-tuned model it went on from."""

    id: str
    kind: str
    status: str
    started_from: str
    created_at: int
    started_at: int | None
    finished_at: int | None
    trained_tokens: int | None
    seed: int
    training_file: SourceFile | None
    validation_file: SourceFile | None
    examples: dict[str, int] | None
    updates: int | None
    seconds: float | None


class Related(BaseModel):
    """Another job that had to do with the model."""

    id: str
    kind: str
    status: str
    created_at: int
    verdict: dict[str, Any] | None


class ModelCard(BaseModel):
    """All of it in one object. Where something is not known (a deleted job), it is null."""

    model: str
    object: Literal["postil.model_card"] = "postil.model_card"
    base: str
    base_sha256: str
    adapter_sha256: str
    created_at: int
    live: bool
    verdict: dict[str, Any] | None
    forgetting: float | None
    note: NoteObject
    lines: list[str]
    job: MadeBy | None
    checkpoint_step: int | None
    plan: dict[str, Any] | None
    reasons: dict[str, Any] | None
    system: str | None
    instruction: str | None
    report: bool
    evaluations: list[Related]
    trained_from_it: list[Related]


@router.get("/models/card", dependencies=[may("read")])
def model_card(model: Named, house: TheHouse, caller: Caller) -> ModelCard:
    """Where a model comes from, how good it is, and what it is used for."""
    row = house.store.models.get(caller.project, checked_name(model, "model"))
    told = _told(house, row)
    job = _job(house, row)
    step = house.store.models.step(row)
    result: dict[str, Any] = (job.result if job is not None and step is None else None) or {}
    used = house.queue.using(caller.project, row.id, SHOWN_JOBS)
    plan = told.get("plan") or (dict(job.resolved) if job is not None and job.resolved else None)
    return ModelCard(
        model=row.id, base=row.base, base_sha256=row.base_sha256, adapter_sha256=row.adapter_sha256,
        created_at=row.created_at, live=row.live, verdict=row.verdict, forgetting=result.get("forgetting"),
        note=_note(house, caller, row.id),
        lines=[LINE + line.name for line in house.store.lines.list(caller.project) if line.model == row.id],
        job=_made_by(house, job) if job is not None else None, checkpoint_step=step, plan=plan,
        reasons=told.get("reasons"), system=(plan or {}).get("system"), instruction=(plan or {}).get("instruction"),
        report=(house.store.directory / row.directory / "report.html").exists(),
        evaluations=[_related(one) for one in used if one.kind != "training"],
        trained_from_it=[_related(one) for one in used if one.kind == "training"],
    )  # fmt: skip


@router.get("/models/note", dependencies=[may("read")])
def model_note(model: Named, house: TheHouse, caller: Caller) -> NoteObject:
    """What the project wrote beside a model."""
    return _note(house, caller, house.store.models.get(caller.project, checked_name(model, "model")).id)


@router.post("/models/note", dependencies=[may("train")])
def set_model_note(body: NoteBody, house: TheHouse, caller: Caller) -> NoteObject:
    """Write the note beside a model anew."""
    name = checked_name(body.model, "model")
    house.store.models.set_note(caller.project, name, body.text, caller.id, version=body.version)
    return _note(house, caller, name)


@router.get(
    "/models/report", dependencies=[may("read")], response_class=Response,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}},
                                 "text/markdown": {"schema": {"type": "string"}}}}},
)  # fmt: skip
def model_report(
    model: Named, house: TheHouse, caller: Caller, form: Annotated[Literal["html", "md"], Query()] = "html"
) -> Response:
    """The report of the training that made a model: one page, without scripts."""
    row = house.store.models.get(caller.project, checked_name(model, "model"))
    file = house.store.directory / row.directory / f"report.{form}"
    if not file.exists():
        raise StoreError("report_missing", model=row.id)
    house.store.audit.note("downloaded", row.id, file.name)
    kind = "text/html" if form == "html" else "text/markdown"
    return Response(file.read_bytes(), media_type=f"{kind}; charset=utf-8",
                    headers={"content-security-policy": REPORT_POLICY})  # fmt: skip


def _told(house: House, row: Model) -> dict[str, Any]:
    file = house.store.directory / row.directory / "plan.json"
    told: dict[str, Any] = read_json(file) if file.exists() else {}
    return told


def _job(house: House, row: Model) -> Job | None:
    try:
        return house.queue.get(row.project, row.job_id) if row.job_id else None
    except JobError:  # forgotten since
        return None


def _made_by(house: House, job: Job) -> MadeBy:
    result, examples = job.result or {}, job.resolved.get("examples")
    return MadeBy(
        id=job.id, kind=job.kind, status=job.status, started_from=job.model, created_at=job.created_at,
        started_at=job.started_at, finished_at=job.finished_at, trained_tokens=job.trained_tokens, seed=job.seed,
        training_file=_file(house, job, job.training_file), validation_file=_file(house, job, job.validation_file),
        examples=examples, updates=result.get("updates"), seconds=result.get("seconds"),
    )  # fmt: skip


def _file(house: House, job: Job, file_id: str | None) -> SourceFile | None:
    if file_id is None:
        return None
    try:
        row = house.store.files.get(job.project, file_id)
    except StoreError:
        return SourceFile(id=file_id, here=False, filename=None, bytes=None, sha256=None)
    return SourceFile(id=row.id, here=True, filename=row.filename, bytes=row.bytes, sha256=row.sha256)


def _related(job: Job) -> Related:
    verdict = (job.result or {}).get("verdict")
    return Related(id=job.id, kind=job.kind, status=job.status, created_at=job.created_at, verdict=verdict)


def _note(house: House, caller: Key, name: str) -> NoteObject:
    note = house.store.models.note(caller.project, name)
    return NoteObject(
        model=name,
        text=note.text if note else "",
        by=note.by if note else None,
        updated_at=note.updated_at if note else None,
        version=note_version(note),
    )
