"""Blind votes by people: begin one from an evaluation's answers, invite raters, look at the result, close it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from postil.api.bodies import Body, StrictRoute
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lists import After, ListOf, checked_name, limited, listed
from postil.api.once import fingerprint, once
from postil.api.refusals import documented
from postil.api.studio.findings import evaluation_of
from postil.api.studio.tasks import any_job
from postil.dataset import write_scores
from postil.evaluate import Tally, revealed, tally
from postil.judging import score_table
from postil.locales import say

if TYPE_CHECKING:
    from postil.store.tables import Ballot, Key, Rater

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST = 500  # questions: more than anybody votes on

router = APIRouter(route_class=StrictRoute, tags=["Studio: votes"], responses=documented(409))


class BallotBody(Body):
    """`job`: a training that has its proof, or an evaluation. `most`: its first questions only."""

    name: str = Field(min_length=1, max_length=200)
    job: str = Field(min_length=1, max_length=80)
    question: str | None = Field(None, min_length=1, max_length=2000)
    most: int | None = Field(None, ge=1, le=MOST)


class RaterBody(Body):
    """Who is to vote."""

    name: str = Field(min_length=1, max_length=100)


class RaterObject(BaseModel):
    """A rater. `link`: the path of their own page, told once, when it is made."""

    id: str
    object: Literal["postil.rater"] = "postil.rater"
    ballot: str
    name: str
    voted: int
    created_at: int
    link: str | None = None


class BallotObject(BaseModel):
    """A vote and what it has come to. questions: to be voted on; same: those with equal answers, which count as ties.

    `result` has the preference with its words, the agreement of raters, and all counts.
    """

    id: str
    object: Literal["postil.ballot"] = "postil.ballot"
    name: str
    question: str
    job: str
    model: str
    questions: int
    same: int
    closed: bool
    created_at: int
    closed_at: int | None
    raters: list[RaterObject]
    result: dict[str, Any]


class BallotDeleted(BaseModel):
    """What is left of a vote or a rater."""

    id: str
    deleted: Literal[True] = True


class VotedRow(BaseModel):
    """A question with both answers under their names, and what each rater said: tuned, base, same or both_bad."""

    row: int
    question: str
    reference: str
    base: str
    tuned: str
    votes: dict[str, str]
    comments: dict[str, str]


class VotedRows(BaseModel):
    """In the order of the evaluation."""

    object: Literal["list"] = "list"
    data: list[VotedRow]


@router.post("/ballots", response_model=BallotObject, dependencies=[may("train")])
def create_ballot(request: Request, body: BallotBody, house: TheHouse, caller: Caller) -> JSONResponse:
    """Begin a blind vote on the answers of an evaluation."""

    def make(reply: str | None) -> BallotObject:
        return shown(house, begun_ballot(house, caller, body, reply))

    def again(ballot_id: str) -> BallotObject:
        return shown(house, house.store.ballots.get(caller.project, ballot_id))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again, retried=True)


def begun_ballot(house: House, caller: Key, body: BallotBody, reply: str | None = None) -> Ballot:
    """A vote on the answers of an evaluation. Raises JobError `job_not_found`, `job_not_evaluated`."""
    job = any_job(house, caller, body.job)
    told = evaluation_of(house, job)
    names = ("question", "reference", "base", "tuned")
    rows = [{name: str(row.get(name, "")) for name in names} for row in told["rows"][: body.most or MOST]]
    model, question = str(job.fine_tuned_model or job.model), body.question or say("blind.question")
    return house.store.ballots.create(caller.project, body.name, question, job.id, model, rows, reply=reply)


@router.get("/ballots", dependencies=[may("read")])
def list_ballots(
    house: TheHouse, caller: Caller, after: After, limit: Annotated[int, limited(20)]
) -> ListOf[BallotObject]:
    """The project's blind votes, newest first."""
    page = house.store.ballots.list(caller.project, after=after, limit=limit)
    return listed([shown(house, row) for row in page.rows], page.more)


@router.get("/ballots/{ballot_id}", dependencies=[may("read")])
def retrieve_ballot(ballot_id: str, house: TheHouse, caller: Caller) -> BallotObject:
    """One blind vote, with what it has come to so far."""
    return shown(house, house.store.ballots.get(caller.project, checked_name(ballot_id, "ballot")))


@router.get("/ballots/{ballot_id}/rows", dependencies=[may("read")])
def ballot_rows(ballot_id: str, house: TheHouse, caller: Caller) -> VotedRows:
    """Every question with the sides told, and who said what."""
    ballot = house.store.ballots.get(caller.project, checked_name(ballot_id, "ballot"))
    votes = house.store.ballots.votes(ballot)
    meant = {rater: revealed(ballot.seed, rater, len(ballot.rows), {row: one.choice for row, one in given.items()})
             for rater, given in votes.items()}  # fmt: skip
    comments = {
        rater: {row: one.comment for row, one in given.items() if one.comment} for rater, given in votes.items()
    }
    return VotedRows(data=[
        VotedRow(row=i, **row, votes=_at(meant, i), comments=_at(comments, i)) for i, row in enumerate(ballot.rows)
    ])  # fmt: skip


@router.get(
    "/ballots/{ballot_id}/sheet", dependencies=[may("read")], response_class=Response,
    responses={200: {"content": {XLSX: {"schema": {"type": "string", "format": "binary"}}}}},
)  # fmt: skip
def ballot_sheet(ballot_id: str, house: TheHouse, caller: Caller) -> Response:
    """Every question with both answers and the votes in columns, as a workbook."""
    ballot = house.store.ballots.get(caller.project, checked_name(ballot_id, "ballot"))
    by_row = counted(house, ballot).by_row
    with tempfile.TemporaryDirectory(prefix="sheet-", dir=house.store.directory) as directory:
        file = Path(directory) / "votes.xlsx"
        write_scores(file, *score_table(None, ballot.rows, votes=by_row))
        headers = {"content-disposition": 'attachment; filename="votes.xlsx"'}
        return Response(file.read_bytes(), media_type=XLSX, headers=headers)


@router.post("/ballots/{ballot_id}/close", dependencies=[may("train")])
def close_ballot(ballot_id: str, house: TheHouse, caller: Caller) -> BallotObject:
    """End the vote; from now on raters may see which side was which."""
    return shown(house, house.store.ballots.close(caller.project, checked_name(ballot_id, "ballot")))


@router.delete("/ballots/{ballot_id}", dependencies=[may("train")])
def delete_ballot(ballot_id: str, house: TheHouse, caller: Caller) -> BallotDeleted:
    """Delete a vote with its raters; their links open nothing any more."""
    house.store.ballots.delete(caller.project, checked_name(ballot_id, "ballot"), caller.id)
    return BallotDeleted(id=ballot_id)


# ── raters ──


@router.post("/ballots/{ballot_id}/raters", dependencies=[may("train")])
def invite_rater(ballot_id: str, body: RaterBody, house: TheHouse, caller: Caller) -> RaterObject:
    """Invite somebody: their link stands in this answer and is never told again."""
    row, token = house.store.ballots.invite(caller.project, checked_name(ballot_id, "ballot"), body.name)
    return _rater(row, 0, token)


@router.post("/raters/{rater_id}/link", dependencies=[may("train")])
def renew_link(rater_id: str, house: TheHouse, caller: Caller) -> RaterObject:
    """Another link for a rater, in place of one that was lost or went astray; their votes stay."""
    row, token = house.store.ballots.new_link(caller.project, checked_name(rater_id, "rater"))
    ballot = house.store.ballots.get(caller.project, row.ballot_id)
    return _rater(row, len(house.store.ballots.votes(ballot)[row.id]), token)


@router.delete("/raters/{rater_id}", dependencies=[may("train")])
def dismiss_rater(rater_id: str, house: TheHouse, caller: Caller) -> BallotDeleted:
    """Take a rater out, with all that they voted."""
    house.store.ballots.dismiss(caller.project, checked_name(rater_id, "rater"))
    return BallotDeleted(id=rater_id)


# ── what the routes share ──


def shown(house: House, row: Ballot) -> BallotObject:
    votes = house.store.ballots.votes(row)
    raters = [_rater(rater, len(votes[rater.id])) for rater in house.store.ballots.raters(row)]
    same = len(row.rows) - len(differing(row.rows))
    return BallotObject(
        id=row.id, name=row.name, question=row.question, job=row.origin, model=row.model,
        questions=len(row.rows) - same, same=same, closed=row.closed_at is not None, created_at=row.created_at,
        closed_at=row.closed_at, raters=raters, result=counted(house, row).as_json(),
    )  # fmt: skip


def counted(house: House, row: Ballot) -> Tally:
    """What a vote has come to; questions with equal answers need no vote to be ties."""
    votes = {rater: {i: one.choice for i, one in given.items()}
             for rater, given in house.store.ballots.votes(row).items()}  # fmt: skip
    return tally(row.seed, len(row.rows), votes, same=len(row.rows) - len(differing(row.rows)))


def differing(rows: Sequence[Any]) -> set[int]:
    """The rows with something to choose between."""
    return {i for i, row in enumerate(rows) if row["base"].strip() != row["tuned"].strip()}


def _at(by_rater: Mapping[str, Mapping[int, str]], row: int) -> dict[str, str]:
    return {rater: given[row] for rater, given in by_rater.items() if row in given}


def _rater(row: Rater, voted: int, token: str | None = None) -> RaterObject:
    return RaterObject(id=row.id, ballot=row.ballot_id, name=row.name, voted=voted, created_at=row.created_at,
                       link=f"/rate/{token}" if token else None)  # fmt: skip
