"""A judge model compares the answers of an evaluation, as a job; its prompt and criteria can be edited."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from postil.api.bodies import Body, Metadata, StrictRoute
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lists import After, ListOf, checked_name, limited
from postil.api.once import fingerprint, once
from postil.api.openai.jobs import placed
from postil.api.refusals import Refused, documented
from postil.api.studio.findings import evaluation_of
from postil.api.studio.tasks import TaskObject, any_job, listed_tasks, shown
from postil.errors import DataError, JobError, PlanError, StoreError
from postil.evaluate import Brief, EndpointJudge, default_brief
from postil.jobs import Order
from postil.judging import ENDPOINT, LOCAL
from postil.records import Kind
from postil.settings import judge_key

if TYPE_CHECKING:
    from postil.store.tables import Job, Key

MOST = 2000  # questions
NAMES = ("rows", "question", "reference", "base", "tuned")

router = APIRouter(route_class=StrictRoute, tags=["Studio: judge"], responses=documented(409))


class JudgeBody(Body):
    """`job`: a training that has its proof, or an evaluation. `judge`: local:MODEL, or endpoint.

    prompt: with {question}, {a} and {b}, and {reference} and {criteria} where wanted; without it, the usual one.
    """

    job: str = Field(min_length=1, max_length=80)
    judge: str = Field(min_length=1, max_length=255)
    prompt: str | None = Field(None, min_length=1, max_length=20_000)
    criteria: str | None = Field(None, min_length=1, max_length=20_000)
    lang: Literal["zh", "en"] | None = None
    most: int | None = Field(None, ge=1, le=MOST)
    metadata: Metadata | None = None
    priority: int | None = Field(None, ge=-100, le=100)


class JudgeDefaults(BaseModel):
    """What a form begins with. judges: what can be named here."""

    object: Literal["postil.judge_defaults"] = "postil.judge_defaults"
    kind: str
    prompt: str
    criteria: str
    judges: list[str]


class JudgedRows(BaseModel):
    """The whole judgement: for each question which answer was preferred, the marks, and why."""

    object: Literal["postil.judgement"] = "postil.judgement"
    task: str
    judgement: dict[str, Any]


@router.post("/judgements", response_model=TaskObject, dependencies=[may("train")])
def create_judgement(request: Request, body: JudgeBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Let a judge compare base and tuned on every question of an evaluation, in both orders."""

    def make(reply: str | None) -> TaskObject:
        return shown(house, placed(house, caller, judge_order(house, caller, body), reply))

    def again(job_id: str) -> TaskObject:
        return shown(house, house.queue.get(caller.project, job_id))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again, retried=True)


def judge_order(house: House, caller: Key, body: JudgeBody) -> Order:
    """What the queue is to do. Raises JobError `job_not_found`, `job_not_evaluated`, DataError `nothing_to_judge`."""
    job = any_job(house, caller, body.job)
    rows = evaluation_of(house, job)["rows"][: body.most or MOST]
    if not rows:
        raise DataError("nothing_to_judge")
    _check_judge(house, body.judge)
    kind = kind_of(house, job)
    brief = default_brief(kind, body.lang, prompt=body.prompt or "", criteria=body.criteria or "")
    settings = {"judge": body.judge, "kind": kind, "prompt": brief.prompt, "criteria": brief.criteria}
    file = _kept(house, caller, rows)
    house.store.tokens.spend(caller.limits, judged_tokens(rows, brief))  # the last thing that may be refused
    return Order(kind="judgement", model=str(job.fine_tuned_model or job.model), settings=settings,
                 training_file=file, metadata=body.metadata or {}, priority=body.priority or 0,
                 request={"judged": job.id})  # fmt: skip


@router.get("/judgements", dependencies=[may("read")])
def list_judgements(
    house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)]
) -> ListOf[TaskObject]:
    """The project's judgements, newest first."""
    return listed_tasks("judgement", house, caller, after, limit)


@router.get("/judgements/defaults", dependencies=[may("read")])
def judge_defaults(
    house: TheHouse, caller: Caller, kind: Annotated[Kind | None, Query()] = None,
    job: Annotated[str | None, Query(max_length=80)] = None,
    lang: Annotated[Literal["zh", "en"] | None, Query()] = None,
) -> JudgeDefaults:  # fmt: skip
    """The usual prompt and criteria for a kind of data (or for that of a job), and who can judge here."""
    found = kind or (kind_of(house, any_job(house, caller, job)) if job else "service_qa")
    brief = default_brief(found, lang)
    here = [f"{LOCAL}{base.name}" for base in house.bases()]
    asked = [ENDPOINT] if house.settings.judge_url and house.settings.judge_model else []
    return JudgeDefaults(kind=found, prompt=brief.prompt, criteria=brief.criteria, judges=[*asked, *here])


@router.get("/judgements/{task_id}/rows", dependencies=[may("read")])
def judged_rows(task_id: str, house: TheHouse, caller: Caller) -> JudgedRows:
    """A finished judgement, row by row; the same stands in its result files, as JSON and as a workbook."""
    task = any_job(house, caller, task_id)
    if task.kind != "judgement":
        raise JobError("job_not_found", job=task_id)
    if not task.result_files:
        raise JobError("job_not_evaluated", job=task.id)
    for name in task.result_files:
        file = house.store.files.get(caller.project, checked_name(str(name), "file"))
        if file.filename.endswith(".json"):
            with house.store.files.open(file) as content:
                return JudgedRows(task=task.id, judgement=json.loads(content.read()))
    raise JobError("job_not_evaluated", job=task.id)


def judged_tokens(rows: Sequence[Mapping[str, Any]], brief: Brief) -> int:
    """What a judgement counts for its key: a token for each character that the judge reads. It reads every question
    twice, and whose tokens it counts itself is not known here."""
    asked = len(brief.prompt) + len(brief.criteria)
    return 2 * sum(asked + sum(len(str(row.get(name, ""))) for name in NAMES) for row in rows)


def kind_of(house: House, job: Job) -> Kind:
    """The kind of data that the model of this job was trained on."""
    known = job.resolved.get("kind")
    if known is None:
        try:
            known = house.plan_of(house.store.models.get(job.project, str(job.fine_tuned_model or job.model))).get(
                "kind"
            )
        except StoreError:  # deleted since
            known = None
    return known or "service_qa"


def _check_judge(house: House, named: str) -> None:
    """By a name in the catalogue, or the one address of the settings: never a path or an address of the request."""
    if named == ENDPOINT:
        EndpointJudge(house.settings.judge_url, house.settings.judge_model, judge_key).close()
        if judge_key() and not house.settings.judge_key_file:
            raise PlanError("judge_needs_key_file")
    elif not named.startswith(LOCAL):
        raise Refused(PlanError("judge_unknown", judge=named[:80]), param="judge")
    elif named.removeprefix(LOCAL) not in {base.name for base in house.bases()}:
        raise Refused(StoreError("model_not_found", model=named[:100]), param="judge", status=400)


def _kept(house: House, caller: Key, rows: Sequence[dict[str, Any]]) -> str:
    """The answers as a file of the project, for the job to read."""
    with house.store.files.incoming() as made:
        for row in rows:
            kept = {name: row[name] for name in NAMES if name in row}
            made.write((json.dumps(kept, ensure_ascii=False) + "\n").encode("utf-8"))
        return house.store.files.keep(caller.project, "answers-to-judge.jsonl", "user_data", made).id
