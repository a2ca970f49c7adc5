"""Jobs: the list, and one of them live. What is shown is read from the store, again each second while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fastapi import Request
from nicegui import ui

from postil.locales import in_a_row, knows, say
from postil.store import TERMINAL
from postil.web.curve import Curve
from postil.web.desk import Desk, desk_of
from postil.web.findings import show_findings
from postil.web.frame import (
    bar,
    box,
    button,
    card,
    frame,
    go,
    guarded,
    heading,
    labelled,
    link,
    note,
    page,
    status_chip,
    table,
    text,
)
from postil.web.result import asked, show_result
from postil.web.shown import marked

if TYPE_CHECKING:
    from postil.store.tables import Job, JobEvent, Model

STAGES = {"prepare": (0, 15), "train": (15, 80), "select": (80, 82), "evaluate": (82, 100)}  # percent of the whole
KINDS = ("training", "evaluation", "answers", "judgement", "base", "export")
SHOWN_EVENTS = 200
SHOWN_SAMPLES = 12
WAITS = ("too_large_here", "no_gpu_here")  # why a job may stay in the queue for ever
EXAMINED_SECONDS = 15.0  # between two looks of the run doctor


@page("/jobs")
async def all_jobs(request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "jobs", desk.say("web.jobs.title"), desk.say("web.jobs.lead")):
        rows = (await desk.do(desk.house.queue.list, desk.project, kinds=KINDS, limit=100)).rows
        await job_list(desk, list(rows))


async def job_list(desk: Desk, rows: list[Job]) -> None:
    """A table of jobs, or what to do when there are none."""
    if not rows:
        with card():
            text(desk.say("web.jobs.none"))
            button(desk.say("web.nav.new"), lambda: go("/new"), main=True)
        return
    names = await desk.do(lambda: {row.id: file_name(desk, row) for row in rows})
    headers = [desk.say(f"web.jobs.{name}") for name in ("name", "kind", "model", "status", "progress", "created")]
    table(headers, [
        (_named(row, job_name(desk, row, names[row.id])), desk.say(f"web.kind.{row.kind}"), row.model,
         _status(desk, row), f"{float(row.progress.get('percent', 0.0)):.0f} %", moment(row.created_at))
        for row in rows
    ], desk.say("web.jobs.title"))  # fmt: skip


def _named(row: Job, name: str) -> Callable[[], Any]:
    return lambda: link(name, f"/jobs/{row.id}")


def _status(desk: Desk, row: Job) -> Callable[[], Any]:
    return lambda: status_chip(desk, row.status)


def file_name(desk: Desk, job: Job) -> str:
    """The name of the file that a job was made from, or nothing if it is gone."""
    from postil.errors import StoreError

    try:
        return str(desk.house.store.files.get(desk.project, str(job.training_file)).filename)
    except StoreError:
        return ""


def job_name(desk: Desk, job: Job, file: str) -> str:
    """What people call a job: the name that they gave it, else that of its file, where that is theirs."""
    if job.kind == "judgement":  # its file was made for it
        return desk.say("web.kind.judgement")
    return job.suffix or file or job.id


def model_names(desk: Desk, rows: Sequence[Model]) -> dict[str, str]:
    """What people call each model: the name that they gave it, else that of its data, and the end of its own."""
    from postil.errors import StoreError

    names = {}
    for row in rows:
        own = ""
        if row.job_id:
            with suppress(StoreError):
                job = desk.house.queue.get(desk.project, row.job_id)
                own = job.suffix or file_name(desk, job)
        end = ":".join(row.id.split(":")[4:])  # ft:<base>:<project>:<name>:<id>, of a checkpoint with its step
        names[row.id] = f"{own} · {end}" if own and end else row.id
    return names


def moment(seconds: int | None) -> str:
    """A time as this machine's clock shows it."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M") if seconds else "–"


@page("/jobs/{job_id}")
async def one_job(job_id: str, request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "jobs", desk.say("web.job.title")):
        job = await desk.do(desk.house.queue.get, desk.project, job_id)
        labels = (await desk.do(desk.house.queue.labels, [job.id]))[job.id]
        live = Live(desk, job, await desk.do(file_name, desk, job), labels.get("dataset", ""))
        live.build()
        await live.look()
        live.timer = ui.timer(1.0, live.look)


class Live:
    """One job on a page. Nothing is kept but how far its events have been read."""

    def __init__(self, desk: Desk, job: Job, name: str, dataset: str) -> None:
        self._desk, self._job, self._name, self._dataset = desk, job, name, dataset
        self._seen = 0
        self._state: tuple[Any, ...] = ()
        self._waits = ""
        self._sampled: list[dict[str, Any]] = []
        self._shown_facts: list[tuple[str, str]] = []
        self._examined_until, self._examined_over = 0.0, False
        self.timer: ui.timer | None = None

    # ── what stands on the page ──

    def build(self) -> None:
        desk = self._desk
        with box("line"):
            text(job_name(desk, self._job, self._name), "strong wrap grow", "span")
            self._chip = box("line")
        self._faults = box("stack")
        with card() as self._progress_card:
            self._stages = box("stages")
            self._numbers = box("line")
            self._acts = box("line")
        self._result = box("stack")
        self._findings = box("stack").props("aria-live=polite")
        with card(desk.say("web.job.curve")) as self._curve_card:
            self._curve = Curve(desk)
        self._curve_card.visible = self._job.kind == "training"
        with card(desk.say("web.job.samples")) as self._samples_card:
            text(desk.say("web.job.samples.lead"), "soft")
            self._samples = box("stack")
        self._samples_card.visible = False
        with ui.expansion(desk.say("web.job.plan")).classes("card w-full"):
            self._plan = box("stack")
        with ui.expansion(desk.say("web.job.log"), value=False).classes("card w-full"):
            self._log = labelled(box("mono stack").props("role=log tabindex=0"), desk.say("web.job.log"))
            self._log.style("max-height: 22rem; overflow-y: auto")

    async def look(self, *, fresh: bool = False) -> None:
        """Read what is new, once for all pages of this job, and show it."""
        desk = self._desk
        if not self._seen:  # a long run: its curve comes in one piece, and only its last events are listed
            points, last = await desk.do(desk.house.queue.measured, desk.project, self._job.id)
            self._curve.add(points)
            self._seen = max(0, last - SHOWN_EVENTS)
        broadcast = desk.house.broadcast
        job, events = await broadcast.news(desk.project, self._job.id, self._seen, fresh=fresh)
        if events:
            self._seen = events[-1].number
            self._tell(list(events))
        self._job = job
        state = (job.status, job.hold, job.wish, job.fine_tuned_model, bool(job.resolved), self._waits)
        position = await desk.do(desk.house.queue.position, job) if job.status == "queued" else None
        self._show_progress(position)
        if state != self._state:
            self._state = state
            self._show_state()
            if job.status == "succeeded":
                await self._show_result()
        await self._look_for_faults()
        if job.status in TERMINAL and not events and self.timer:
            self.timer.deactivate()

    async def _look_for_faults(self) -> None:
        """The doctor comes now and then, and once when it is over."""
        job, now = self._job, time.monotonic()
        over = job.status in TERMINAL
        if job.kind != "training" or not job.resolved or (now < self._examined_until and over == self._examined_over):
            return
        self._examined_until, self._examined_over = now + (1e9 if over else EXAMINED_SECONDS), over
        self._findings.clear()
        with self._findings:
            await show_findings(self._desk, job)

    def _tell(self, events: list[JobEvent]) -> None:
        self._curve.add([
            (int(event.data["step"]), event.data.get("train_loss"), event.data.get("valid_loss"))
            for event in events if event.type == "metrics" and event.data
        ])  # fmt: skip
        self._show_samples([event.data for event in events if event.code == "sample" and event.data])
        self._waits = next((self._words(event) for event in events if event.code in WAITS), self._waits)
        with self._log:
            for event in events:
                line = text(f"{datetime.fromtimestamp(event.created_at):%H:%M:%S}  {self._words(event)}", "wrap", "div")
                line.move(target_index=0)
        for line in self._log.default_slot.children[SHOWN_EVENTS:]:  # a page may stay open for days
            line.delete()

    def _show_samples(self, samples: list[dict[str, Any]]) -> None:
        """The newest answers first, each beside the right one."""
        if not samples:
            return
        self._samples_card.visible = True
        self._sampled = [*self._sampled, *samples][-SHOWN_SAMPLES:]
        names = ("job.step", "result.question", "result.wanted", "result.after")
        headers = [self._desk.say(f"web.{name}") for name in names]
        self._samples.clear()
        with self._samples:
            fixed = self._job.resolved.get("instruction")
            rows = [(one["step"], asked(one["question"], fixed), marked(one["question"], one["wanted"]),
                     marked(one["question"], one["answer"])) for one in reversed(self._sampled)]  # fmt: skip
            table(headers, rows, self._desk.say("web.job.samples"))

    def _words(self, event: JobEvent) -> str:
        key = f"event.{event.code}"
        if event.code and knows(key):
            return say(key, self._desk.lang, **(event.data or {}))
        return event.message

    # ── state ──

    def _show_state(self) -> None:
        desk, job = self._desk, self._job
        self._chip.clear()
        with self._chip:
            status_chip(desk, job.status)
        self._faults.clear()
        with self._faults:
            if job.status == "failed":
                note(desk.say("web.job.failed"), "bad", _fault(desk, job))
                if self._dataset:
                    with box("line"):
                        button(desk.say("web.job.to_plan"), lambda: go(f"/data/{self._dataset}/plan"), main=True)
                        button(desk.say("web.job.to_data"), lambda: go(f"/data/{self._dataset}"))
            if self._waits and job.status == "queued":
                note(self._waits, "warn")
            if job.hold:
                note(desk.say(f"event.{job.hold}"), "warn")
            if job.wish:
                note(desk.say(f"web.job.wish.{job.wish}"), "info")
        self._acts.clear()
        with self._acts:
            self._show_acts()
        self._plan.clear()
        with self._plan:
            self._show_plan()

    def _show_acts(self) -> None:
        desk, job, queue = self._desk, self._job, self._desk.house.queue
        acts: list[tuple[str, Callable[[str, str], Any]]] = []
        if job.kind == "training" and job.status in ("running", "queued") and not job.wish:
            acts.append(("pause", queue.pause))
        if job.status == "paused" or job.wish == "pause":
            acts.append(("resume", queue.resume))
        if job.kind == "training" and job.last_checkpoint and job.status in ("running", "queued", "paused"):
            acts.append(("keep", queue.keep))
        if job.status not in TERMINAL:
            acts.append(("cancel", queue.cancel))
        for name, act in acts:
            button(desk.say(f"web.job.{name}"), guarded(desk, self._acting(name, act)))

    def _acting(self, name: str, act: Callable[[str, str], Any]) -> Any:
        async def run(*_: Any) -> None:
            if name in ("cancel", "keep") and not await sure(self._desk, self._desk.say(f"web.job.{name}.sure")):
                return
            await self._desk.do(act, self._desk.project, self._job.id)
            if self.timer:
                self.timer.activate()
            await self.look(fresh=True)

        return run

    def _show_plan(self) -> None:
        desk, resolved = self._desk, self._job.resolved
        if not resolved:
            text(desk.say("web.job.no_plan"), "soft")
            return
        rows = [(desk.say(f"plan.{name}.label"), _short(value)) for name, value in resolved.items()
                if knows(f"plan.{name}.label") and value is not None]  # fmt: skip
        table([desk.say("web.plan.parameter"), desk.say("web.plan.value")], rows, desk.say("web.job.plan"))

    # ── progress ──

    def _show_progress(self, position: int | None) -> None:
        desk, job = self._desk, self._job
        percent = 100.0 if job.status == "succeeded" else float(job.progress.get("percent", 0.0))
        facts = self._facts(percent, position)
        if facts == self._shown_facts:
            return
        self._shown_facts = facts
        self._stages.clear()
        with self._stages:
            for name, (low, high) in STAGES.items() if job.kind == "training" else {"work": (0, 100)}.items():
                share = min(100.0, max(0.0, 100.0 * (percent - low) / (high - low)))
                words = desk.say(f"web.stage.{name}")
                with box():
                    text(f"{words}  {share:.0f} %", "small number", "span")
                    bar(share, words)
        self._numbers.clear()
        with self._numbers:
            for name, value in facts:
                with box():
                    text(desk.say(f"web.job.{name}"), "small soft", "div")
                    text(value, "strong number", "div")

    def _facts(self, percent: float, position: int | None) -> list[tuple[str, str]]:
        desk, job, told = self._desk, self._job, self._job.progress
        found = [("percent", f"{percent:.0f} %")]
        if position is not None:
            found.append(("ahead", str(position) if position else desk.say("web.job.ahead.none")))
        learns = job.status != "running" or told.get("stage") == "train"  # afterwards, it is the step that was chosen
        if told.get("step") and learns:
            found.append(("step", f"{told['step']} / {told.get('total_steps', '?')}"))
        left = told.get("seconds_left")
        if job.status == "running" and left is not None:
            found.append(("left", span(desk, float(left))))
            found.append(("finish", datetime.fromtimestamp(time.time() + float(left)).strftime("%H:%M")))
        if told.get("cost") is not None and job.kind == "training":
            sign = {"CNY": "¥", "USD": "$"}.get(desk.house.settings.currency, "")
            cost = float(told["cost"])
            found.append(("cost", f"{sign}{cost:.2f}" if cost >= 0.01 or not cost else f"< {sign}0.01"))
        if told.get("tokens_per_second") and job.status == "running" and learns:
            found.append(("speed", f"{float(told['tokens_per_second']):.0f} tok/s"))
        if told.get("of"):
            found.append(("rows", f"{told.get('done', 0)} / {told['of']}"))
        return found

    async def _show_result(self) -> None:
        self._result.clear()
        with self._result:
            await show_result(self._desk, self._job)


def _fault(desk: Desk, job: Job) -> str:
    """Why it failed and what to do, in this person's language."""
    told = job.error or {}
    code = told.get("postil")
    if code and knows(f"error.{code}.cause"):
        values = dict(told.get("values", {}))
        try:
            words = in_a_row(desk.say(f"error.{code}.cause", **values), desk.remedy(str(code), **values))
        except KeyError:  # the row is from a version whose sentence had other words in it
            words = str(told.get("message", ""))
        rows = ", ".join(map(str, list(told.get("rows", ()))[:20]))
        return words + (f" {desk.say('web.job.rows_named', rows=rows)}" if rows else "") + f" [{code}]"
    return str(told.get("message", ""))


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)[:300]


def span(desk: Desk, seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 90:
        return desk.say("web.time.seconds", n=round(seconds))
    if seconds < 5400:
        return desk.say("web.time.minutes", n=round(seconds / 60))
    return desk.say("web.time.hours", n=f"{seconds / 3600:.1f}")


async def sure(desk: Desk, question: str) -> bool:
    """Ask before something that cannot be undone."""
    with ui.dialog() as dialog, box("card stack"):
        heading(question, 2)
        with box("line"):
            button(desk.say("web.yes"), lambda: dialog.submit(True), main=True)
            button(desk.say("web.no"), lambda: dialog.submit(False))
    answer = await dialog
    dialog.delete()
    return bool(answer)
