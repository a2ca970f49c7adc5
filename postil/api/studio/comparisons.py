"""Base and tuned side by side: the same question, the same moment, one base in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from postil.api.bodies import Body, StrictRoute
from postil.api.booking import booked_on_a_thread
from postil.api.choir import whole
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lists import checked_name
from postil.api.refusals import documented, refused
from postil.dataset import ask
from postil.serve import Reply
from postil.serve import Request as Question

if TYPE_CHECKING:
    from postil.store.tables import Key, Model

router = APIRouter(route_class=StrictRoute, tags=["Studio: comparison"], responses=documented())


class CompareBody(Body):
    """A question for a fine-tuned model and its base; the run's own system prompt and instruction go with it."""

    model: str = Field(min_length=1, max_length=255)
    question: str = Field(min_length=1, max_length=100_000)
    system: str | None = Field(None, max_length=20_000)
    temperature: float | None = Field(None, ge=0, le=2)
    seed: int | None = Field(None, ge=0, le=2_147_483_647)
    max_tokens: int | None = Field(None, ge=1, le=32_768)


class ShownAnswer(BaseModel):
    """One answer."""

    text: str
    tokens: int
    finish: str


class Comparison(BaseModel):
    """Both answers."""

    object: Literal["postil.comparison"] = "postil.comparison"
    model: str
    base_model: str
    base: ShownAnswer
    tuned: ShownAnswer


@router.post("/comparisons", dependencies=[may("serve")])
async def compare(request: Request, body: CompareBody, house: TheHouse, caller: Caller) -> Comparison:
    """Ask a fine-tuned model and its base the same. Greedy unless `temperature` says otherwise. Models that are not
    released can be compared: that is how one sees whether they should be."""
    lanes, project = house.lanes, caller.project
    model, question = await lanes.run("reads", project, _question, body, house, caller)
    async with lanes.place("answers", project, 2):
        engine = await lanes.run("engines", project, house.engine, model.base)
        both = [replace(question, scale=scale) for scale in (0.0, 1.0)]
        booking = await booked_on_a_thread(house, caller, engine, both)
        base, tuned = await whole(booking, lanes, request)
    return Comparison(model=model.id, base_model=model.base, base=_shown(base), tuned=_shown(tuned))


def _question(body: CompareBody, house: House, caller: Key) -> tuple[Model, Question]:
    """The model, and what it is asked in its run's own words."""
    if not body.model.startswith("ft:"):
        raise refused("invalid_value", param="model", detail="ft:...")
    model = house.store.models.get(caller.project, checked_name(body.model, "model"))
    plan = house.plan_of(model)
    messages = ask(body.question, body.system or plan.get("system"), plan.get("instruction"))
    return model, Question(
        messages, adapter=house.store.directory / model.directory,
        max_tokens=body.max_tokens or plan.get("max_new_tokens", 256), temperature=body.temperature or 0.0,
        seed=body.seed, project=caller.project,
    )  # fmt: skip


def _shown(reply: Reply) -> ShownAnswer:
    return ShownAnswer(text=reply.text, tokens=reply.completion_tokens, finish=reply.finish)
