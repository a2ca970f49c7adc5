"""One job, live. What is shown is read from the store, again each second while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import Request
from nicegui import ui

from postil.locales import knows
from postil.store import TERMINAL
from postil.web.curve import Curve
from postil.web.desk import REFUSALS, Desk, desk_of, status_of
from postil.web.findings import findings_of, show_findings
from postil.web.frame import (
    Text,
    act_button,
    box,
    button,
    card,
    frame,
    go,
    heading,
    labelled,
    note,
    page,
    soon,
    table,
    text,
    way,
)
from postil.web.log import event_words, fault_words
from postil.web.place import Meter, Place, StatusChip
from postil.web.result import asked, show_result
from postil.web.shown import marked

if TYPE_CHECKING:
    from postil.store.tables import Job, JobEvent, Model

STAGES = {"prepare": (0, 15), "train": (15, 80), "select": (80, 82), "evaluate": (82, 100)}  # percent of the whole
FOR_GOOD = ("cancel", "keep", "delete")  # asked once more before they are done
SHOWN_EVENTS = 200
SHOWN_SAMPLES = 12
WAITING = ("validating_files", "queued")
WAITS = ("too_large_here", "no_gpu_here")  # why a job may stay in the queue for ever
PASSING = (429, 503)  # what a page that looks again may find gone
EXAMINED_SECONDS = 15.0  # between two looks of the run doctor


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
    if job.kind == "export":
        to = str(job.order.get("settings", {}).get("to", "merged")).replace("-", "_")
        return desk.say("web.jobs.export_of", model=job.model, to=desk.say(f"web.export.{to}"))
    return job.suffix or file or (job.model if job.kind == "base" else job.id)


def percent_of(job: Job) -> float:
    """How far it is, 0 to 100; what has succeeded is whole, whatever it told last."""
    return 100.0 if job.status == "succeeded" else float(job.progress.get("percent", 0.0))


def model_names(desk: Desk, rows: Sequence[Model]) -> dict[str, str]:
    """What people call each model: the name that they gave it, else that of its data, and the end of its own."""
    from postil.errors import StoreError

    names = {}
    for row in rows:
        own = ""
        if row.job_id and desk.can("job.read"):
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
        live.timer = soon(desk, live.look, every=1.0)


class Live:
    """One job on a page. Nothing is kept but how far its events have been read."""

    def __init__(self, desk: Desk, job: Job, name: str, dataset: str) -> None:
        self._desk, self._job, self._name, self._dataset = desk, job, name, dataset
        self._seen = 0
        self._state = ""
        self._waits = ""
        self._sampled: list[dict[str, Any]] = []
        self._values: dict[str, Text] = {}
        self._examined_until, self._examined_over = 0.0, False
        self.timer: ui.timer | None = None

    # ── what stands on the page ──

    def build(self) -> None:
        desk = self._desk
        with box("line"):
            text(job_name(desk, self._job, self._name), "strong wrap grow", "span")
            self._chip = StatusChip(desk, self._job.status)
        self._faults = Place()
        with card():
            with box("stages"):
                self._meters = [Stage(desk, words, low, high) for words, (low, high) in self._spans().items()]
            self._numbers = Place("line")
            self._acts = Place("line")
        self._result = Place()
        self._findings = Place(live=True)
        with card(desk.say("web.job.curve")) as self._curve_card:
            self._curve = Curve(desk)
        self._curve_card.visible = self._job.kind == "training"
        with card(desk.say("web.job.samples")) as self._samples_card:
            text(desk.say("web.job.samples.lead"), "soft")
            self._samples = box("stack")  # nothing in it can be pressed
        self._samples_card.visible = False
        with ui.expansion(desk.say("web.job.plan")).classes("card w-full"):
            self._plan = Place()
        with ui.expansion(desk.say("web.job.log"), value=False).classes("card w-full"):
            self._log = labelled(box("mono stack").props("role=log tabindex=0"), desk.say("web.job.log"))
            self._log.style("max-height: 22rem; overflow-y: auto")

    async def look(self, *_: Any, fresh: bool = False) -> None:
        """Read what is new, once for all pages of this job, and show it; one that was deleted elsewhere is told once.

        fresh: what this page has just done is to be seen.
        """
        try:
            await self._look(fresh)
        except REFUSALS as error:
            if self.timer and status_of(error) not in PASSING:
                self.timer.deactivate()
            raise

    async def _look(self, fresh: bool) -> None:
        desk = self._desk
        if not self._seen:  # a long run: its curve comes in one piece, and only its last events are listed
            losses, last = await desk.do(desk.house.queue.losses, desk.project, self._job.id)
            self._curve.begin(losses)
            self._seen = max(0, last - SHOWN_EVENTS)
        broadcast = desk.house.broadcast
        job, events = await broadcast.news(desk.project, self._job.id, self._seen, fresh=fresh)
        if events:
            self._seen = events[-1].number
            self._tell(list(events))
        self._job = job
        position = await desk.do(desk.house.queue.position, job) if job.status == "queued" else None
        self._show_progress(position)
        self._show_state()
        if job.status == "succeeded" and self._state != job.status:
            with self._result.box:
                await show_result(desk, job)
        self._state = job.status
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
        found = await self._desk.do(findings_of, self._desk, job)
        self._findings.show(found, partial(show_findings, self._desk, job, found))

    def _tell(self, events: list[JobEvent]) -> None:
        self._curve.add([
            (int(event.data["step"]), event.data.get("train_loss"), event.data.get("valid_loss"))
            for event in events if event.type == "metrics" and event.data
        ])  # fmt: skip
        self._show_samples([event.data for event in events if event.code == "sample" and event.data])
        self._waits = next(
            (event_words(self._desk, self._job, event) for event in events if event.code in WAITS), self._waits
        )
        with self._log:
            for event in events:
                words = event_words(self._desk, self._job, event)
                line = text(f"{datetime.fromtimestamp(event.created_at):%H:%M:%S}  {words}", "wrap", "div")
                line.move(target_index=0)
        for oldest in self._log.default_slot.children[SHOWN_EVENTS:]:  # a page may stay open for days
            oldest.delete()

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

    # ── state ──

    def _show_state(self) -> None:
        job = self._job
        self._chip.at(job.status)
        waits = self._waits if job.status == "queued" else ""
        self._faults.show((job.status == "failed", waits, job.hold, job.wish), partial(self._show_faults, waits))
        acts = self._possible()
        self._acts.show([name for name, _ in acts], partial(self._show_acts, acts))
        self._plan.show(dict(job.resolved), self._show_plan)

    def _show_faults(self, waits: str) -> None:
        """Why it failed or waits, and the way from here."""
        desk, job = self._desk, self._job
        if job.status == "failed":
            note(desk.say("web.job.failed"), "bad", fault_words(desk, job))
            if self._dataset:
                with box("line"):
                    way(desk.say("web.job.to_plan"), f"/data/{self._dataset}/plan", main=True)
                    way(desk.say("web.job.to_data"), f"/data/{self._dataset}")
        if waits:
            note(waits, "warn")
        if job.hold:
            note(desk.say(f"event.{job.hold}"), "warn")
        if job.wish:
            note(desk.say(f"web.job.wish.{job.wish}"), "info")

    def _possible(self) -> list[tuple[str, Callable[[str, str], Any]]]:
        """What can be done with it now: names, and what does it."""
        job, queue = self._job, self._desk.house.queue
        acts: list[tuple[str, Callable[[str, str], Any]]] = []
        if job.kind == "training" and job.status in (*WAITING, "running") and not job.wish:
            acts.append(("pause", queue.pause))
        if job.status == "paused" or job.wish == "pause":
            acts.append(("resume", queue.resume))
        if job.kind == "training" and job.last_checkpoint and job.status in ("running", "queued", "paused"):
            acts.append(("keep", queue.keep))
        if job.status not in TERMINAL:
            acts.append(("cancel", queue.cancel))
        else:
            acts.append(("delete", queue.delete))
        return acts

    def _show_acts(self, acts: list[tuple[str, Callable[[str, str], Any]]]) -> None:
        for name, act in acts:
            act_button(self._desk, f"job.{name}", self._desk.say(f"web.job.{name}"), self._acting(name, act))

    def _acting(self, name: str, act: Callable[[str, str], Any]) -> Any:
        async def run(*_: Any) -> None:
            if name in FOR_GOOD and not await sure(self._desk, self._desk.say(f"web.job.{name}.sure")):
                return
            await self._desk.do(act, self._desk.project, self._job.id)
            if name == "delete":
                go("/jobs")
                return
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

    def _spans(self) -> dict[str, tuple[int, int]]:
        """The stages in words, each with the part of the whole that it takes, in percent."""
        if self._job.kind == "training":
            return {self._desk.say(f"web.stage.{name}"): span for name, span in STAGES.items()}
        return {self._desk.say(f"web.kind.{self._job.kind}"): (0, 100)}

    def _show_progress(self, position: int | None) -> None:
        """Bars and figures move where they stand."""
        percent = percent_of(self._job)
        facts = dict(self._facts(percent, position))
        for meter in self._meters:
            meter.at(percent)
        self._numbers.show(list(facts), partial(self._show_facts, facts))
        for name, words in facts.items():
            self._values[name].text = words

    def _show_facts(self, facts: Mapping[str, str]) -> None:
        for name, words in facts.items():
            with box():
                text(self._desk.say(f"web.job.{name}"), "small soft", "div")
                self._values[name] = text(words, "strong number", "div")

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
            sign = desk.sign(desk.house.settings.currency)
            cost = float(told["cost"])
            found.append(("cost", f"{sign}{cost:.2f}" if cost >= 0.01 or not cost else f"< {sign}0.01"))
        if told.get("tokens_per_second") and job.status == "running" and learns:
            found.append(("speed", f"{float(told['tokens_per_second']):.0f} tok/s"))
        if told.get("of"):
            found.append(("rows", f"{told.get('done', 0)} / {told['of']}"))
        return found


class Stage:
    """A stage of a job with its bar. low, high: the part of the whole that it takes, in percent."""

    def __init__(self, desk: Desk, words: str, low: int, high: int) -> None:
        self._words, self._low, self._high = words, low, high
        with box():
            self._text = text(words, "small number", "span")
            self._meter = Meter(0.0, words)

    def at(self, percent: float) -> None:
        """percent: of the whole job."""
        share = min(100.0, max(0.0, 100.0 * (percent - self._low) / (self._high - self._low)))
        self._text.text = f"{self._words}  {share:.0f} %"
        self._meter.at(share)


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
