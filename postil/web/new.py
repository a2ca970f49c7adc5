"""The beginning: drop a sheet, or try a sample."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from postil.samples import TITLES_INSTRUCTION, TITLES_SYSTEM, sample
from postil.web.desk import Desk, desk_of
from postil.web.frame import act_button, box, card, frame, go, heading, page, text, way
from postil.web.joblist import KINDS, JobList
from postil.web.upload import Upload

RECENT = 5
SAMPLES: dict[str, dict[str, Any]] = {
    "titles": {"system": TITLES_SYSTEM, "instruction": TITLES_INSTRUCTION},
    "service": {},
}


@page("/")
async def home(request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "", desk.say("web.home.title"), desk.say("web.home.lead")):
        if desk.can("dataset.create"):
            _door(desk)
        else:
            text(desk.say("web.home.reader"))
        if not desk.can("/jobs"):
            way(desk.say("web.nav.compare"), "/compare", main=True)
            return
        if (await desk.do(desk.house.queue.list, desk.project, kinds=KINDS, limit=1)).rows:
            heading(desk.say("web.home.recent"))
            await JobList(desk, limit=RECENT).build()


@page("/new")
async def new(request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "new", desk.say("web.new.title"), desk.say("web.new.lead")):
        _door(desk)


def _door(desk: Desk) -> None:
    """Where a sheet comes in."""
    with card(desk.say("web.new.drop")):
        text(desk.say("web.new.formats"), "soft")
        Upload(desk, _came(desk), act="dataset.create")
        text(desk.say("web.new.or_sample"), "soft")
        with box("line"):
            for name in SAMPLES:
                act_button(desk, "dataset.create", desk.say(f"web.new.sample.{name}"), _sampling(desk, name))


def _came(desk: Desk) -> Any:
    async def run(told: dict[str, Any]) -> None:
        go(await begin(desk, str(told["id"]), str(told["filename"]), {}))

    return run


def _sampling(desk: Desk, name: str) -> Any:
    async def run(*_: Any) -> None:
        row = await desk.do(_kept, desk, name)
        go(await begin(desk, row.id, desk.say(f"web.new.sample.{name}"), SAMPLES[name]))

    return run


def _kept(desk: Desk, name: Any) -> Any:
    """The sample as a file of the project."""
    files = desk.house.store.files
    with files.incoming() as made, sample(name).open("rb") as source:
        made.read_from(source)
        return files.keep(desk.project, f"{name}.xlsx", "user_data", made)


async def begin(desk: Desk, file_id: str, name: str, reading: dict[str, Any]) -> str:
    """A data set of a file; returns the path of its page."""
    row = await desk.do(desk.house.store.datasets.create, desk.project, name, file_id, reading)
    return f"/data/{row.id}"
