"""Evaluations: is the tuned model better than its base, on rows that training never saw?"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import Request
from nicegui import ui

from postil.jobs import Order
from postil.web.desk import Desk, desk_of
from postil.web.frame import card, frame, go, link, nothing_yet, page, table, text
from postil.web.joblist import JobList
from postil.web.jobs import file_name, model_names, moment
from postil.web.judging import begin_judging
from postil.web.people import begin_vote
from postil.web.result import preference_words, verdict_words
from postil.web.upload import Upload

COLUMNS = ("name", "model", "status", "result", "created")


@page("/evaluations")
async def all_evaluations(request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "evaluations", desk.say("web.evaluations.title"), desk.say("web.evaluations.lead")):
        rows = await desk.do(desk.house.store.models.list, desk.project)
        models = await desk.do(model_names, desk, rows)
        if not models:
            nothing_yet(desk, desk.say("web.models.none"))
            return
        if desk.can("evaluation.create"):
            _begin(desk, models)
        evaluated = await desk.do(_evaluated, desk)
        if evaluated and desk.can("judgement.create"):
            await begin_judging(desk, evaluated)
        if desk.can("ballot.create"):
            begin_vote(desk, evaluated)
        votes = (await desk.do(desk.house.store.ballots.list, desk.project, limit=50)).rows
        if votes:
            headers = [desk.say(f"web.{name}") for name in ("jobs.name", "jobs.model", "jobs.created")]
            table(headers, [(partial(link, row.name, f"/votes/{row.id}"), row.model, moment(row.created_at))
                            for row in votes], desk.say("web.people.title"))  # fmt: skip
        await JobList(
            desk,
            kinds=("evaluation", "judgement"),
            columns=COLUMNS,
            title="web.evaluations.title",
            words={"result": partial(_said, desk)},
        ).build()


def _evaluated(desk: Desk) -> dict[str, str]:
    """The jobs whose answers can be voted on, with what they are called."""
    page = desk.house.queue.list(desk.project, kinds=("training", "evaluation"), limit=100, status="succeeded")
    return {row.id: f"{row.suffix or file_name(desk, row) or row.id} · {moment(row.created_at)}" for row in page.rows}


def _begin(desk: Desk, models: dict[str, str]) -> None:
    """Baseline metrics on a file of questions with their right answers. models: id -> what it is called."""
    with card(desk.say("web.evaluations.metrics")):
        text(desk.say("web.evaluations.metrics.lead"), "soft")
        chosen = ui.select(models, value=next(iter(models)), label=desk.say("web.jobs.model")).props("outlined")
        chosen.classes("w-full")

        async def begin(told: dict[str, Any]) -> None:
            order = Order(kind="evaluation", model=str(chosen.value), training_file=str(told["id"]))
            job = await desk.do(desk.house.queue.create, desk.project, order)
            go(f"/jobs/{job.id}")

        Upload(desk, begin, desk.say("web.evaluations.file"), act="evaluation.create")


def _said(desk: Desk, row: Any) -> str:
    result = row.result or {}
    if result.get("verdict"):
        return verdict_words(desk, result["verdict"])
    return preference_words(desk, result["preference"]) if result.get("preference") else "–"
