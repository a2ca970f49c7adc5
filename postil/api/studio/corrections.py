"""Corrections: thumbs, right answers in place of wrong ones, and the file that the next training learns from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from postil.api.bodies import Body, StrictRoute, Version
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lanes import lane
from postil.api.lists import After, ListOf, checked_name, limited, listed
from postil.api.once import fingerprint, once
from postil.api.refusals import documented, refused
from postil.api.studio.data import Corrected, HowToRead, arguments, corrections_at, options_of
from postil.api.studio.sets import SetDeleted, cleaned_file, write_lines
from postil.dataset import ask
from postil.errors import JobError, StoreError
from postil.store import LINE, correction_version

if TYPE_CHECKING:
    from postil.store.tables import Correction, CorrectionSet, Job, Key

Thumb = Literal["up", "down"]
Text = Annotated[str, Field(max_length=100_000)]

router = APIRouter(route_class=StrictRoute, tags=["Studio: corrections"], responses=documented(409))


class CorrectionSetBody(Body):
    """A name for a heap of corrections."""

    name: str = Field(min_length=1, max_length=200)


class CorrectionSetObject(BaseModel):
    """A correction set, and what is in it. corrected: rows with a right answer; up, down: with a thumb; origin: the
    training whose answers these are, for `with_job`, if it and its file are still there."""

    id: str
    object: Literal["postil.correction_set"] = "postil.correction_set"
    name: str
    rows: int
    corrected: int
    up: int
    down: int
    origin: str | None
    created_at: int


class Said(Body):
    """One message before the answer."""

    role: Literal["system", "user", "assistant"]
    content: Text


class CorrectionBody(Body):
    """What was asked, what was said, and what should have been said.

    Give `question` (and `system`): the system prompt and instruction of `model`'s own training then go with it, as they
    did when it answered. Or give all `messages` before the answer as they were.
    """

    question: str | None = Field(None, min_length=1, max_length=100_000)
    system: str | None = Field(None, min_length=1, max_length=20_000)
    messages: list[Said] | None = Field(None, min_length=1, max_length=200)
    answer: Text
    right: Text | None = None
    thumb: Thumb | None = None
    model: str | None = Field(None, min_length=1, max_length=255)
    note: str | None = Field(None, max_length=4000)


class ChangeBody(Body):
    """What is to change; fields that are left out, or null, stay. With `version`, only if nobody changed it since."""

    right: Text | None = None
    thumb: Thumb | Literal["none"] | None = None
    note: str | None = Field(None, max_length=4000)
    version: Version = None


class CorrectionObject(BaseModel):
    """One correction."""

    id: str
    object: Literal["postil.correction"] = "postil.correction"
    set: str
    messages: list[dict[str, str]]
    answer: str
    right: str | None
    thumb: str | None
    model: str
    note: str
    by: str
    created_at: int
    updated_at: int
    version: str


class CorrectionDeleted(BaseModel):
    """What is left of a correction."""

    id: str
    deleted: Literal[True] = True


class FileBody(HowToRead):
    """What the file is for. `with_job`: also all rows of that training; `with_file`: also all rows of a file.

    A row whose question was corrected is replaced by its correction.
    """

    purpose: Literal["fine-tune", "evals"] = "fine-tune"
    with_job: str | None = Field(None, min_length=1, max_length=80)
    with_file: str | None = Field(None, min_length=1, max_length=80)


class MadeFile(BaseModel):
    """A new file: how many rows are corrections, how many came along, and how many of those were replaced."""

    object: Literal["postil.correction_file"] = "postil.correction_file"
    file: str
    purpose: str
    corrections: int
    rows: int
    replaced: int


# ── sets ──


@router.post("/correction_sets", response_model=CorrectionSetObject, dependencies=[may("train")])
def create_correction_set(request: Request, body: CorrectionSetBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Begin a set of corrections."""

    def make(reply: str | None) -> CorrectionSetObject:
        return _one_set(house, house.store.corrections.create(caller.project, body.name, reply=reply))

    def again(set_id: str) -> CorrectionSetObject:
        return _one_set(house, house.store.corrections.get(caller.project, set_id))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again, retried=True)


@router.get("/correction_sets", dependencies=[may("read")])
def list_correction_sets(
    house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)]
) -> ListOf[CorrectionSetObject]:
    """The project's correction sets, newest first."""
    page = house.store.corrections.list(caller.project, after=after, limit=limit)
    counts = house.store.corrections.counts([row.id for row in page.rows])
    return listed([_shown_set(house, row, counts[row.id]) for row in page.rows], page.more)


@router.get("/correction_sets/{set_id}", dependencies=[may("read")])
def retrieve_correction_set(set_id: str, house: TheHouse, caller: Caller) -> CorrectionSetObject:
    """One correction set."""
    return _one_set(house, house.store.corrections.get(caller.project, checked_name(set_id, "set")))


@router.delete("/correction_sets/{set_id}", dependencies=[may("train")])
def delete_correction_set(set_id: str, house: TheHouse, caller: Caller) -> SetDeleted:
    """Delete a set with its corrections; files that were made of it stay."""
    house.store.corrections.delete(caller.project, checked_name(set_id, "set"))
    return SetDeleted(id=set_id)


@router.post("/correction_sets/{set_id}/file", response_model=MadeFile, dependencies=[may("train")])
@lane("looks")
def make_file(set_id: str, request: Request, body: FileBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Make a training or evaluation file of a set, JSONL of messages: right answers, and answers with a thumb up."""
    checked_name(set_id, "set")

    def make(reply: str | None) -> MadeFile:
        return file_of_corrections(house, caller, set_id, body)

    return once(request, house, caller, fingerprint(body.model_dump_json()), make)


# ── what is in them ──


@router.post("/correction_sets/{set_id}/corrections", response_model=CorrectionObject,
             dependencies=[may("train", "serve")])  # fmt: skip
def add_correction(
    set_id: str, request: Request, body: CorrectionBody, house: TheHouse, caller: Caller
) -> JSONResponse:
    """Add what a person thought of an answer: a thumb, a right answer, or both."""
    checked_name(set_id, "set")
    messages = _messages(house, caller, body)

    def make(reply: str | None) -> CorrectionObject:
        row = house.store.corrections.add(
            caller.project, set_id, messages=messages, answer=body.answer, right=body.right, thumb=body.thumb,
            model=body.model or "", note=body.note or "", by=caller.id, reply=reply,
        )  # fmt: skip
        return _shown(row)

    def again(correction_id: str) -> CorrectionObject:
        return _shown(house.store.corrections.correction(caller.project, correction_id))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again, retried=True)


@router.get("/correction_sets/{set_id}/corrections", dependencies=[may("read")])
def list_corrections(
    set_id: str, house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)]
) -> ListOf[CorrectionObject]:
    """What is in a set, newest first."""
    page = house.store.corrections.rows(caller.project, checked_name(set_id, "set"), after=after, limit=limit)
    return listed([_shown(row) for row in page.rows], page.more)


@router.post("/corrections/{correction_id}", dependencies=[may("train", "serve")])
def change_correction(correction_id: str, body: ChangeBody, house: TheHouse, caller: Caller) -> CorrectionObject:
    """Write another right answer, thumb or note."""
    changes: dict[str, Any] = body.model_dump(exclude_none=True, exclude={"version"})
    if changes.get("thumb") == "none":
        changes["thumb"] = None
    name = checked_name(correction_id, "correction")
    row = house.store.corrections.change(caller.project, name, changes, version=body.version)
    return _shown(row)


@router.delete("/corrections/{correction_id}", dependencies=[may("train")])
def delete_correction(correction_id: str, house: TheHouse, caller: Caller) -> CorrectionDeleted:
    """Take a correction out of its set."""
    house.store.corrections.remove(caller.project, checked_name(correction_id, "correction"))
    return CorrectionDeleted(id=correction_id)


# ── what they share ──


def _messages(house: House, caller: Key, body: CorrectionBody) -> list[dict[str, str]]:
    if (body.question is None) == (body.messages is None):
        raise refused("invalid_value", param="question", detail="question | messages")
    if body.messages is not None:
        if body.messages[-1].role == "assistant":
            raise refused("invalid_value", param="messages", detail="... user")
        return [one.model_dump() for one in body.messages]
    plan = _plan(house, caller, body.model)
    asked = ask(body.question or "", body.system or plan.get("system"), plan.get("instruction"))
    return [{"role": one.role, "content": one.content} for one in asked]


def _plan(house: House, caller: Key, name: str | None) -> dict[str, Any]:
    if name is not None and name.startswith(LINE):
        name = house.store.lines.get(caller.project, checked_name(name, "line")).model
    if name is None or not name.startswith("ft:"):
        return {}
    return house.plan_of(house.store.models.get(caller.project, checked_name(name, "model")))


@lane("looks")
def file_of_corrections(house: House, caller: Key, set_id: str, body: FileBody) -> MadeFile:
    right = house.store.corrections.examples(caller.project, set_id)
    if not right:
        raise StoreError("set_empty", set=set_id)
    if body.with_job and body.with_file:
        raise refused("invalid_value", param="with_file", detail="with_job | with_file")
    corrected = {_key(one) for one in right}
    replaced = rows = 0

    def kept(lines: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        nonlocal replaced, rows
        for one in lines:
            if _key(one) in corrected:
                replaced += 1
            else:
                rows += 1
                yield one

    along = _along(house, caller, body)
    name = house.store.corrections.get(caller.project, set_id).name
    source: AbstractContextManager[tuple[Iterator[dict[str, Any]], int]] = nullcontext((iter(()), 0))
    if along:
        source = cleaned_file(house, caller, along.file, lambda path: _options(along, path), "with_file")
    with house.store.files.incoming() as made, source as (lines, _):
        write_lines(made, kept(lines))
        write_lines(made, right)
        row = house.store.files.keep(caller.project, f"{name}.jsonl", body.purpose, made)
    return MadeFile(file=row.id, purpose=row.purpose, corrections=len(right), rows=rows, replaced=replaced)


def origin_of(house: House, project: str, set_id: str) -> Job | None:
    """The training whose answers were corrected, the one of most of them; None if it or its file is gone."""
    for name in house.store.corrections.models(project, set_id):
        with suppress(JobError, StoreError):
            model = house.store.lines.get(project, name).model if name.startswith(LINE) else name
            job_id = house.store.models.get(project, model).job_id
            if job_id is not None:
                job = house.queue.get(project, job_id)
                house.store.files.get(project, str(job.training_file))
                return job
    return None


def _options(along: Corrected, path: Path) -> list[str]:
    """How a file is read whose rows come along: as it was learned, with all that was put right in it."""
    return [*corrections_at(along, path), *arguments({**options_of(along), "--mask": along.mask})]


def _along(house: House, caller: Key, body: FileBody) -> Corrected | None:
    """The file whose rows come along, and how it is to be read."""
    if body.with_job is None:
        read = body.model_dump(include=set(HowToRead.model_fields))
        return Corrected(file=body.with_file, **read) if body.with_file else None
    from postil.api.openai.jobs import trained

    job = trained(house, caller, body.with_job)
    known = {name: told for name, told in job.order["reading"].items() if name in Corrected.model_fields}
    return Corrected.model_validate({**known, "file": job.training_file})


def _key(example: dict[str, Any]) -> str:
    """What was asked, whatever was answered."""
    return repr([(one["role"], one["content"]) for one in example["messages"][:-1]])


def _one_set(house: House, row: CorrectionSet) -> CorrectionSetObject:
    return _shown_set(house, row, house.store.corrections.counts([row.id])[row.id])


def _shown_set(house: House, row: CorrectionSet, counts: dict[str, int]) -> CorrectionSetObject:
    origin = origin_of(house, row.project, row.id)
    return CorrectionSetObject(
        id=row.id, name=row.name, created_at=row.created_at, origin=origin.id if origin else None, **counts
    )


def _shown(row: Correction) -> CorrectionObject:
    return CorrectionObject(
        id=row.id, set=row.set_id, messages=row.messages, answer=row.answer, right=row.right, thumb=row.thumb,
        model=row.model, note=row.note, by=row.by, created_at=row.created_at, updated_at=row.updated_at,
        version=correction_version(row),
    )  # fmt: skip
