"""Corrections that people made of answers: what becomes data for the next training, and what is taken back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import Request
from nicegui import ui

from postil.api import FileBody, file_of_corrections, origin_of
from postil.web.desk import Desk, desk_of
from postil.web.frame import act_button, box, card, frame, go, link, note, page, table, text
from postil.web.jobs import file_name, job_name, moment, sure
from postil.web.new import begin

if TYPE_CHECKING:
    from postil.store.tables import Correction, Job

SHOWN = 100  # corrections of a set


async def show_corrections(desk: Desk) -> None:
    """The project's correction sets, each a click away from being a data set."""
    heaps = desk.house.store.corrections
    rows = (await desk.do(heaps.list, desk.project, limit=50)).rows
    if not rows:
        return
    counts = await desk.do(heaps.counts, [row.id for row in rows])
    origins = await desk.do(lambda: {row.id: _origin(desk, row.id) for row in rows})
    with card(desk.say("web.corrections.title")):
        text(desk.say("web.corrections.lead"), "soft")
        names = ("set", "rows", "corrected", "thumbs", "along", "made", "act")
        headers = [desk.say(f"web.corrections.{name}") for name in names]
        table(headers, [
            (partial(link, row.name, f"/corrections/{row.id}", "wrap"), str(counts[row.id]["rows"]),
             str(counts[row.id]["corrected"]), f"{counts[row.id]['up']} / {counts[row.id]['down']}",
             partial(_along, desk, origins[row.id]), moment(row.created_at),
             partial(_use, desk, row, origins[row.id][0], counts[row.id]))
            for row in rows
        ], desk.say("web.corrections.title"))  # fmt: skip


def _origin(desk: Desk, set_id: str) -> tuple[Job | None, str]:
    """The training whose rows come along, and what it is called."""
    job = origin_of(desk.house, desk.project, set_id)
    return job, job_name(desk, job, file_name(desk, job)) if job else ""


def _along(desk: Desk, origin: tuple[Job | None, str]) -> None:
    job, name = origin
    if job is None:
        text(desk.say("web.corrections.alone"), "small soft", "span")
    else:
        link(name, f"/jobs/{job.id}", "wrap")


def _use(desk: Desk, row: Any, origin: Job | None, counts: Mapping[str, int]) -> None:
    async def use(event: Any) -> None:
        body = FileBody(with_job=origin.id if origin else None)
        file = await desk.do(file_of_corrections, desk.house, desk.key, row.id, body)
        go(await begin(desk, file.file, f"{row.name}.jsonl", {}))

    teaches = counts["corrected"] + counts["up"] > 0  # a right answer, or one that was good as it stood
    made = act_button(desk, "correction.use", desk.say("web.corrections.use"), use)
    if made is not None:
        made.set_enabled(teaches)


@page("/corrections/{set_id}")
async def one_heap(set_id: str, request: Request) -> None:
    desk = desk_of(request)
    heaps = desk.house.store.corrections
    async with frame(desk, "data", desk.say("web.corrections.title")):
        row = await desk.do(heaps.get, desk.project, set_id)
        rows = await desk.do(heaps.rows, desk.project, row.id, limit=SHOWN)
        origin = await desk.do(_origin, desk, row.id)
        counts = (await desk.do(heaps.counts, [row.id]))[row.id]
        text(row.name, "strong wrap", "div")
        if origin[0] is None:
            note(desk.say("web.corrections.alone.lead"), "warn")
        else:
            text(desk.say("web.corrections.along.lead", name=origin[1]), "soft")
        with box("line"):
            _use(desk, row, origin[0], counts)
            act_button(desk, "correction.delete", desk.say("web.corrections.delete"), partial(_delete, desk, row.id))
        headers = [desk.say(f"web.corrections.{name}") for name in ("asked", "said", "right", "act")]
        table(
            headers,
            [
                (
                    one.messages[-1]["content"] if one.messages else "",
                    one.answer,
                    _right(desk, one),
                    partial(_acts, desk, one),
                )
                for one in rows.rows
            ],
            row.name,
        )
        if rows.more:
            text(desk.say("web.corrections.more", n=SHOWN), "small soft")


def _right(desk: Desk, one: Correction) -> str:
    if one.right is not None:
        return one.right
    return desk.say(f"web.compare.{one.thumb}") if one.thumb else "–"


def _acts(desk: Desk, one: Correction) -> None:
    async def remove(event: Any) -> None:
        if await sure(desk, desk.say("web.corrections.remove.sure")):
            await desk.do(desk.house.store.corrections.remove, desk.project, one.id)
            ui.navigate.reload()

    act_button(desk, "correction.remove", desk.say("web.corrections.remove"), remove)


async def _delete(desk: Desk, set_id: str, event: Any) -> None:
    if await sure(desk, desk.say("web.corrections.delete.sure")):
        await desk.do(desk.house.store.corrections.delete, desk.project, set_id)
        go("/data")
