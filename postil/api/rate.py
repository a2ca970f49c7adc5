"""What a rater's link opens: their own ballot, without a key, and nothing else.

The secret in the path is the only way in. Which side is which is told when the vote is closed, and not before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from postil.api.bodies import Body, StrictRoute
from postil.api.house import House, TheHouse
from postil.api.refusals import documented
from postil.api.studio.ballots import counted, differing
from postil.errors import StoreError
from postil.evaluate import revealed, shown_rows

if TYPE_CHECKING:
    from postil.store.tables import Ballot, Rater

PER_MINUTE = 240  # requests of one link
WRONG_PER_MINUTE = 60  # of all links together that open nothing

router = APIRouter(route_class=StrictRoute, prefix="/rate", tags=["Raters"], responses=documented())


@dataclass(frozen=True)
class LinkPace:
    """How fast a link may be used."""

    id: str
    requests_per_minute: int

    @property
    def limits(self) -> list[dict[str, Any]]:
        """As those of a key."""
        return [{"key": self.id, "requests_per_minute": self.requests_per_minute, "tokens_per_day": None}]


class VoteBody(Body):
    """A vote on one row; another one takes its place."""

    row: int = Field(ge=0, le=100_000)
    choice: Literal["a", "b", "same", "both_bad"]
    comment: str | None = Field(None, max_length=2000)


class BlindRow(BaseModel):
    """A question with two answers, and what this rater has said of them."""

    row: int
    question: str
    reference: str
    a: str
    b: str
    choice: str | None
    comment: str


class BlindBallot(BaseModel):
    """All that a rater needs, in the order in which they are asked."""

    object: Literal["postil.blind_ballot"] = "postil.blind_ballot"
    name: str
    question: str
    rater: str
    closed: bool
    voted: int
    rows: list[BlindRow]


class Voted(BaseModel):
    """A vote that was taken down, and how far this rater is."""

    row: int
    choice: str
    voted: int
    of: int


class ToldRow(BaseModel):
    """A question with the sides told. `own`: what this rater preferred."""

    row: int
    question: str
    base: str
    tuned: str
    own: str | None


class BlindResult(BaseModel):
    """What the vote has come to."""

    object: Literal["postil.blind_result"] = "postil.blind_result"
    name: str
    preference: dict[str, Any]
    agreement: dict[str, Any]
    rows: list[ToldRow]


@dataclass(frozen=True)
class Opened:
    """What a link has opened."""

    ballot: Ballot
    rater: Rater


def opened(token: str, house: House) -> Opened:
    """Whose link this is, in its pace. Raises StoreError `rater_not_found`, Refused `rate_limit_exceeded`."""
    try:
        ballot, rater = house.store.ballots.of_link(token)
    except StoreError:
        house.rate_limits.count_request(LinkPace("rate:unknown", WRONG_PER_MINUTE))
        raise
    house.rate_limits.count_request(LinkPace(f"rate:{rater.id}", PER_MINUTE))
    return Opened(ballot, rater)


def _link(token: str, house: TheHouse) -> Opened:
    return opened(token, house)


Link = Annotated[Any, Depends(_link)]


@router.get("/{token}/ballot")
def blind_ballot(link: Link, house: TheHouse) -> BlindBallot:
    """The questions of this link's rater, with both answers and without their names."""
    ballot, votes = link.ballot, _votes(house, link)
    asked = differing(ballot.rows)
    rows = [
        BlindRow(**row, choice=votes[row["row"]].choice if row["row"] in votes else None,
                 comment=votes[row["row"]].comment if row["row"] in votes else "")
        for row in shown_rows(ballot.rows, ballot.seed, link.rater.id) if row["row"] in asked
    ]  # fmt: skip
    return BlindBallot(name=ballot.name, question=ballot.question, rater=link.rater.name,
                       closed=ballot.closed_at is not None, voted=len(votes), rows=rows)  # fmt: skip


@router.post("/{token}/votes")
def take_vote(body: VoteBody, link: Link, house: TheHouse) -> Voted:
    """Take down a vote."""
    asked = differing(link.ballot.rows)
    if body.row not in asked:
        raise StoreError("row_not_found", row=body.row)
    house.store.ballots.vote(link.rater, body.row, body.choice, body.comment or "")
    return Voted(row=body.row, choice=body.choice, voted=len(_votes(house, link)), of=len(asked))


@router.get("/{token}/result")
def blind_result(link: Link, house: TheHouse) -> BlindResult:
    """Which side was which, and what all raters said together; once the vote is closed."""
    ballot: Ballot = link.ballot
    if ballot.closed_at is None:
        raise StoreError("ballot_open")
    own = revealed(ballot.seed, link.rater.id, len(ballot.rows),
                   {row: vote.choice for row, vote in _votes(house, link).items()})  # fmt: skip
    told = counted(house, ballot).as_json()
    rows = [ToldRow(row=i, question=row["question"], base=row["base"], tuned=row["tuned"], own=own.get(i))
            for i, row in enumerate(ballot.rows)]  # fmt: skip
    return BlindResult(name=ballot.name, preference=told["preference"], agreement=told["agreement"], rows=rows)


def _votes(house: House, link: Opened) -> dict[int, Any]:
    return house.store.ballots.votes(link.ballot).get(link.rater.id, {})
