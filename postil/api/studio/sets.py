"""Evaluation sets: questions with right answers, out of a file, of a job's test part, or of corrections."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from postil.api.asking import cleaned
from postil.api.bodies import StrictRoute
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lanes import lane
from postil.api.lists import NAME, After, ListOf, checked_name, limited, listed
from postil.api.once import fingerprint, once
from postil.api.refusals import Refused, documented, refused
from postil.api.studio.data import HowToRead, arguments, options_of
from postil.errors import JobError, StoreError

if TYPE_CHECKING:
    from postil.store import Incoming
    from postil.store.tables import EvaluationSet, Key

PIECE = 1 << 20

router = APIRouter(route_class=StrictRoute, tags=["Studio: sets"], responses=documented(409))


class SetBody(HowToRead):
    """A name, and one of: `file` (with how it is to be read), `job` (its test part), `corrections` (a set of them)."""

    name: str = Field(min_length=1, max_length=200)
    file: str | None = Field(None, min_length=1, max_length=80)
    job: str | None = Field(None, min_length=1, max_length=80)
    corrections: str | None = Field(None, min_length=1, max_length=80)


class SetObject(BaseModel):
    """An evaluation set. `file` can be given to an evaluation as it is: JSONL of messages."""

    id: str
    object: Literal["postil.evaluation_set"] = "postil.evaluation_set"
    name: str
    source: str
    origin: str
    file: str
    examples: int
    created_at: int


class SetDeleted(BaseModel):
    """What is left of a set."""

    id: str
    deleted: Literal[True] = True


@router.post("/sets", response_model=SetObject, dependencies=[may("train")])
@lane("looks")
def create_set(request: Request, body: SetBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Make an evaluation set. A file is read, mended and checked like a training file; nothing of it is used later."""
    sources = {name: value for name in ("file", "job", "corrections") if (value := getattr(body, name)) is not None}
    if len(sources) != 1:
        raise refused("invalid_value", param="file", detail="file | job | corrections")
    source, origin = next(iter(sources.items()))

    def make(reply: str | None) -> SetObject:
        with house.store.files.incoming() as made:
            count = _gathered(house, caller, body, source, origin, made)
            if not count:
                raise StoreError("set_empty", set=origin)
            return shown(house.store.sets.create(caller.project, body.name, source, origin, made, count, reply=reply))  # type: ignore[arg-type]

    def again(set_id: str) -> SetObject:
        return shown(house.store.sets.get(caller.project, set_id))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again, retried=True)


@router.get("/sets", dependencies=[may("read")])
def list_sets(house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)]) -> ListOf[SetObject]:
    """The project's evaluation sets, newest first."""
    page = house.store.sets.list(caller.project, after=after, limit=limit)
    return listed([shown(row) for row in page.rows], page.more)


@router.get("/sets/{set_id}", dependencies=[may("read")])
def retrieve_set(set_id: str, house: TheHouse, caller: Caller) -> SetObject:
    """One evaluation set."""
    return shown(house.store.sets.get(caller.project, checked_name(set_id, "set")))


@router.delete("/sets/{set_id}", dependencies=[may("train")])
def delete_set(set_id: str, house: TheHouse, caller: Caller) -> SetDeleted:
    """Delete a set with its file, unless a job that is not finished needs it."""
    house.store.sets.delete(caller.project, checked_name(set_id, "set"))
    return SetDeleted(id=set_id)


def shown(row: EvaluationSet) -> SetObject:
    return SetObject(id=row.id, name=row.name, source=row.source, origin=row.origin, file=row.file_id,
                     examples=row.examples, created_at=row.created_at)  # fmt: skip


def _gathered(house: House, caller: Key, body: SetBody, source: str, origin: str, made: Incoming) -> int:
    """Write the examples, a line each; how many there were."""
    if source == "file":
        read = arguments(options_of(body))
        with cleaned_file(house, caller, origin, lambda path: read) as (lines, _):
            return write_lines(made, lines)
    if source == "corrections":
        return write_lines(made, house.store.corrections.examples(caller.project, checked_name(origin, "set")))
    return write_lines(made, _test_part(house, caller, origin))


@contextmanager
def cleaned_file(
    house: House, caller: Key, file_id: str, options: Callable[[Path], Sequence[str]], param: str = "file"
) -> Iterator[tuple[Iterator[dict[str, Any]], int]]:  # fmt: skip
    """The examples of one of the project's files, and their number. options: of `postil check`, for where it lies.

    Raises Refused 400 `file_not_found`.
    """
    try:
        row = house.store.files.get(caller.project, checked_name(file_id, "file"))
    except StoreError as error:
        raise Refused(error, param=param, status=400) from error
    with cleaned(house.command, house.store, row, options) as (path, count), path.open(encoding="utf-8") as file:
        yield (json.loads(line) for line in file if line.strip()), count


def write_lines(made: Incoming, examples: Iterable[Mapping[str, Any]]) -> int:
    """JSONL of {"messages": [...], "tools": [...]}; what else was known of the examples stays behind."""
    count = 0
    for one in examples:
        kept = {name: one[name] for name in ("messages", "tools") if name in one}
        made.write((json.dumps(kept, ensure_ascii=False) + "\n").encode("utf-8"))
        count += 1
    return count


def _test_part(house: House, caller: Key, job_id: str) -> Iterator[dict[str, Any]]:
    """What a finished training set aside for its test. Raises Refused 400: `job_not_found`, `no_test_part`."""
    try:
        if not NAME.match(job_id):
            raise JobError("job_not_found", job="-")
        job = house.queue.get(caller.project, job_id)
        if job.kind != "training" or not job.fine_tuned_model:
            raise JobError("no_test_part", job=job_id)
        model = house.store.models.get(caller.project, job.fine_tuned_model)
    except (JobError, StoreError) as error:
        raise Refused(error, param="job", status=400) from error
    file = house.store.directory / model.directory / "test.jsonl"
    if not file.exists():
        raise Refused(JobError("no_test_part", job=job_id), param="job")
    with file.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())
