"""The list of jobs, which follows them while the page is open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import Request

from postil.web.desk import Desk, desk_of
from postil.web.frame import Text, frame, link, nothing_yet, page, soon, table, text
from postil.web.jobs import file_name, job_name, moment, percent_of
from postil.web.place import Place, StatusChip

if TYPE_CHECKING:
    from postil.store.tables import Job

KINDS = ("training", "evaluation", "answers", "judgement", "base", "export")
COLUMNS = ("name", "kind", "model", "status", "progress", "created")
LOOK_SECONDS = 2.0

Words = Callable[["Job"], str]


@page("/jobs")
async def all_jobs(request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "jobs", desk.say("web.jobs.title"), desk.say("web.jobs.lead")):
        await JobList(desk, nothing=partial(_no_jobs, desk)).build()


def _no_jobs(desk: Desk) -> None:
    nothing_yet(desk, desk.say("web.jobs.none"))


class JobList:
    """The newest jobs of these kinds. A row is built once; its state and figures change where they stand.

    words: how a column that is none of COLUMNS is cells; nothing: what stands there when there are no jobs.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        kinds: Sequence[str] = KINDS,
        limit: int = 100,
        columns: Sequence[str] = COLUMNS,
        title: str = "web.jobs.title",
        words: dict[str, Words] | None = None,
        nothing: Callable[[], None] = lambda: None,
    ) -> None:
        self._desk, self._kinds, self._limit, self._columns = desk, kinds, limit, columns
        self._title, self._nothing = title, nothing
        self._words: dict[str, Words] = {
            "kind": lambda job: desk.say(f"web.kind.{job.kind}"),
            "model": lambda job: job.model,
            "progress": lambda job: f"{percent_of(job):.0f} %",
            "created": lambda job: moment(job.created_at),
            **(words or {}),
        }
        self._names: dict[str, str] = {}
        self._cells: dict[tuple[str, str], Text | StatusChip] = {}

    async def build(self) -> None:
        self._place = Place()
        await self.look()
        soon(self._desk, self.look, every=LOOK_SECONDS)

    async def look(self, *_: Any) -> None:
        """Read the jobs as they are now, and show what has changed."""
        desk = self._desk
        rows = (await desk.do(desk.house.queue.list, desk.project, kinds=self._kinds, limit=self._limit)).rows
        unknown = [job for job in rows if job.id not in self._names]
        if unknown:
            self._names.update(await desk.do(_names, desk, unknown))
        self._place.show([job.id for job in rows], partial(self._show, rows))
        for job in rows:
            self._follow(job)

    def _show(self, rows: Sequence[Job]) -> None:
        if not rows:
            self._nothing()
            return
        self._cells = {}
        headers = [self._desk.say(f"web.jobs.{name}") for name in self._columns]
        cells = [[partial(self._cell, job, name) for name in self._columns] for job in rows]
        table(headers, cells, self._desk.say(self._title))

    def _cell(self, job: Job, column: str) -> None:
        if column == "name":
            link(self._names[job.id], f"/jobs/{job.id}", "wrap")
        elif column == "status":
            self._cells[job.id, column] = StatusChip(self._desk, job.status)
        else:
            self._cells[job.id, column] = text(self._words[column](job), tag="span")

    def _follow(self, job: Job) -> None:
        for column in self._columns:
            cell = self._cells.get((job.id, column))
            if isinstance(cell, StatusChip):
                cell.at(job.status)
            elif cell is not None:
                cell.text = self._words[column](job)


def _names(desk: Desk, jobs: Sequence[Job]) -> dict[str, str]:
    return {job.id: job_name(desk, job, file_name(desk, job)) for job in jobs}
