"""Step two and three: a base model, parameters that are chosen already, and one button."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlencode

from fastapi import Request
from nicegui import ui

from postil.api import PlanBody
from postil.api import plan as plan_of
from postil.jobs import Order
from postil.plan import Field, check_settings, fields, groups, known, machine, matters, needed_bytes, presets
from postil.records import Base, Machine, Task
from postil.settings import EMBEDDED
from postil.web.desk import REFUSALS, Desk, desk_of
from postil.web.frame import (  # fmt: skip
    act,
    act_button,
    box,
    button,
    card,
    chip,
    frame,
    go,
    guarded,
    heading,
    note,
    page,
    soon,
    table,
    text,
    told,
)
from postil.web.jobs import percent_of, span
from postil.web.log import fault_words
from postil.web.newer import show_newer
from postil.web.place import Meter, Place
from postil.web.steps import steps

if TYPE_CHECKING:
    from postil.store.tables import DataSet, Job

MAIN = ("kind", "metric", "learning_rate", "r", "lora_alpha", "target_modules", "n_epochs", "batch_size", "max_length")
HIDDEN = ("system", "instruction")  # they belong to the data, and are set there
AUTOMATIC = "automatic"
WORDED = {"task": "web.task", "kind": "web.data_kind", "metric": "metric"}  # choices that have words of their own
COULD_BE = "could_be_"  # how the codes of advice on another task begin


@page("/data/{dataset_id}/plan")
async def plan(dataset_id: str, request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "new", desk.say("web.plan.title"), desk.say("web.plan.lead")):
        dataset = await desk.do(desk.house.store.datasets.get, desk.project, dataset_id)
        newest = await desk.do(desk.house.store.datasets.newest, desk.project, dataset_id)
        if newest.id != dataset_id:
            show_newer(desk, newest, partial(_load, newest))
        steps(desk, 2, dataset_id)
        page = Planning(desk, dataset, request.query_params)
        page.build()
        soon(desk, page.think)


async def _load(newest: DataSet, *_: Any) -> None:
    go(f"/data/{newest.id}/plan")


class Planning:
    """The choices of one person for one data set. They stand in the page's address, so that a refresh keeps them."""

    def __init__(self, desk: Desk, dataset: DataSet, asked: Mapping[str, str]) -> None:
        self._desk, self._dataset = desk, dataset
        self._machine = machine()
        self._bases = {base.name: base for base in known(desk.house.settings.home)}
        self._base = asked.get("base", "") if asked.get("base") in self._bases else EMBEDDED
        self._preset = asked.get("preset", AUTOMATIC) if asked.get("preset") in presets() else AUTOMATIC
        self._wishes: dict[str, Any] = _wishes(asked.get("settings", ""))
        self._plan: dict[str, Any] = {}
        self._turn = 0

    def build(self) -> None:
        desk = self._desk
        with card(desk.say("web.plan.base")):
            self._advice = box("stack")
            self._tiles = box("tiles").props("role=radiogroup")
            self._tiles.props["aria-label"] = desk.say("web.plan.base")
        with card(desk.say("web.plan.task")):
            self._why_task = box("stack").props("aria-live=polite")
            self._tasks = box("tiles").props("role=radiogroup")
            self._tasks.props["aria-label"] = desk.say("web.plan.task")
        with card(desk.say("web.plan.preset")):
            self._presets = box("tiles").props("role=radiogroup")
            self._presets.props["aria-label"] = desk.say("web.plan.preset")
        with card(desk.say("web.plan.parameters")):
            text(desk.say("web.plan.parameters.lead"), "soft")
            self._chosen = box("stack").props("aria-live=polite")
            with ui.expansion(desk.say("web.plan.advanced")).classes("w-full"):
                self._fields = box("stack")
        with card(desk.say("web.plan.start")):
            self._estimate = box("line")
            self._doubts = box("stack")
            self._name = ui.input(desk.say("web.plan.name"), validation={
                desk.say("web.plan.name.long"): lambda value: len(value or "") <= 64
            }).props("outlined").classes("w-full").style("max-width: 26rem")  # fmt: skip
            self._download = box("stack")
            with box("line"):
                self._start = button(desk.say("web.plan.train"), act(desk, "job.create", self._train), main=True)
                self._waits = text("", "soft small", "span")
        self._start.disable()  # until the plan stands
        self._show_choices()

    # ── choices ──

    def _show_choices(self) -> None:
        desk = self._desk
        self._tiles.clear()
        with self._tiles:
            order = sorted(self._bases.values(), key=lambda b: (b.path is None, not self._fits(b), b.shape.parameters))
            for base in order:
                self._base_tile(base)
        self._presets.clear()
        with self._presets:
            for name in (AUTOMATIC, *presets()):
                with _tile(name == self._preset, guarded(desk, partial(self._choose, preset=name))):
                    text(desk.say(f"web.preset.{name}"), "strong", "span")
                    text(desk.say(f"web.preset.{name}.lead"), "small soft", "span")

    def _show_tasks(self) -> None:
        """What is learned: the choice with its reason, and what these rows would go well with besides."""
        desk, chosen = self._desk, self._wishes.get("task") or self._plan.get("plan", {}).get("task", "causal_lm")
        suggested = {doubt["code"].removeprefix(COULD_BE): doubt["message"] for doubt in self._plan.get("doubts", ())
                     if doubt["code"].startswith(COULD_BE)}  # fmt: skip
        self._why_task.clear()
        with self._why_task:
            text(self._plan.get("reasons", {}).get("task", {}).get("reason", ""), "soft")
            for words in suggested.values():
                note(words, "info")
        self._tasks.clear()
        with self._tasks:
            for task in get_args(Task):
                with _tile(task == chosen, guarded(desk, partial(self._wish_task, task))):
                    with box("line"):
                        text(desk.say(f"web.task.{task}"), "strong", "span")
                        if task in suggested:
                            chip(desk.say("web.plan.task.suggested"), "good")
                    text(desk.say(f"web.task.{task}.lead"), "small soft", "span")

    async def _wish_task(self, task: str, *_: Any) -> None:
        await self._wish("task", task)

    def _base_tile(self, base: Base) -> None:
        desk = self._desk
        with _tile(base.name == self._base, guarded(desk, partial(self._choose, base=base.name))):
            text(base.name, "strong wrap", "span")
            size = f"{base.shape.parameters / 1e9:.2g} B" if base.shape.parameters >= 1e9 else \
                f"{base.shape.parameters / 1e6:.0f} M"  # fmt: skip
            languages = ", ".join(desk.say(f"web.language.{lang}") for lang in base.languages if lang in ("zh", "en"))
            text(" · ".join(part for part in (size, languages, base.licence) if part), "small soft wrap", "span")
            with box("line"):
                chip(desk.say("web.base.here" if base.path else "web.base.away"), "good" if base.path else "")
                if not self._fits(base):
                    needed = needed_bytes(base.shape, self._machine) / 1e9
                    chip(desk.say("web.base.too_large", needed=f"{needed:.0f}"), "bad")

    def _fits(self, base: Base) -> bool:
        return needed_bytes(base.shape, self._machine) <= _memory(self._machine)

    async def _choose(self, *_: Any, base: str | None = None, preset: str | None = None) -> None:
        self._base, self._preset = base or self._base, preset or self._preset
        self._show_choices()
        await self.think()

    async def _wish(self, name: str, value: Any) -> None:
        """A parameter by hand; None gives it back to the plan."""
        if value is None:
            self._wishes.pop(name, None)
        else:
            self._wishes.update(check_settings({name: value}))
        await self.think()

    # ── the plan ──

    async def think(self, *_: Any) -> None:
        """Have the plan made for these choices, and show it, unless others were made meanwhile."""
        self._turn += 1
        turn, desk = self._turn, self._desk
        self._keep_in_address()
        self._start.disable()
        self._show_tasks()
        self._waits.text = desk.say("web.plan.thinking")
        try:
            found = await desk.do(plan_of, self._body(), desk.house, desk.key)
        except REFUSALS as error:
            if turn == self._turn:
                self._waits.text = ""
                self._chosen.clear()
                with self._chosen:
                    told(desk, error)
            return
        if turn == self._turn:
            self._plan = found
            self._show()

    def _body(self) -> PlanBody:
        reading = dict(self._dataset.reading)
        preset = None if self._preset == AUTOMATIC else self._preset
        return PlanBody(file=self._dataset.file_id, base=self._base, preset=preset, settings=dict(self._wishes),
                        measure=False, **reading)  # fmt: skip

    def _keep_in_address(self) -> None:
        told = {"base": self._base, "preset": self._preset, "settings": json.dumps(self._wishes, ensure_ascii=False)}
        address = json.dumps("?" + urlencode(told))
        ui.run_javascript(f"history.replaceState(null, '', {address})")

    def _show(self) -> None:
        desk, here = self._desk, self._bases[self._base].path is not None
        self._waits.text = "" if here else desk.say("web.plan.not_here")
        self._start.set_enabled(here)
        self._advice.clear()
        advice = self._plan["recommended"]
        if advice["base"] != self._base:
            with self._advice:
                note(advice["reason"], "info")
        self._show_tasks()
        main = [name for name in MAIN if matters(name, self._plan["plan"])]
        self._chosen.clear()
        with self._chosen:
            table([desk.say("web.plan.parameter"), desk.say("web.plan.value"), desk.say("web.plan.why")],
                  [self._row(name) for name in main], desk.say("web.plan.parameters"))  # fmt: skip
        self._show_fields()
        self._show_estimate()
        self._show_download()

    def _row(self, name: str) -> tuple[Any, ...]:
        label = self._desk.say(f"plan.{name}.label")
        return label, self._shown(name), self._plan["reasons"].get(name, {}).get("reason", "")

    def _shown(self, name: str) -> str:
        value = self._plan["plan"][name]
        if name == "kind":
            return self._desk.say(f"web.data_kind.{value}")
        if name == "metric":
            return self._desk.say(f"metric.{value}")
        return f"{value:g}" if isinstance(value, float) else str(value)

    def _show_fields(self) -> None:
        desk = self._desk
        known = {one.name: one for one in fields(desk.lang)}
        self._fields.clear()
        with self._fields:
            for group, names in groups().items():
                shown = [name for name in names if name not in HIDDEN and matters(name, self._plan["plan"])]
                heading(desk.say(f"web.plan.group.{group}"), 3)
                with box("side"):
                    for name in shown:
                        self._show_field(known[name])

    def _show_field(self, one: Field) -> None:
        desk = self._desk
        with box("stack"):
            _input(desk, one, self._plan["plan"][one.name], partial(self._wish, one.name))
            text(one.help, "small soft")
            if one.name in self._wishes:
                button(desk.say("web.plan.automatic"), guarded(desk, partial(self._automatic, one.name)))

    async def _automatic(self, name: str, *_: Any) -> None:
        await self._wish(name, None)

    def _show_estimate(self) -> None:
        desk, told = self._desk, self._plan["estimate"]
        low, high = told["seconds"]
        sign = desk.sign(told["currency"])
        cost = f"{sign}{told['cost'][1]:.2f}" if told["cost"][1] >= 0.01 else f"< {sign}0.01"
        lengths = dict.fromkeys((span(desk, low), span(desk, high)))  # one where both sound alike
        facts = {"time": " – ".join(lengths), "memory": f"{told['memory_bytes'] / 1e9:.1f} GB",
                 "disk": f"{told['disk_bytes'] / 1e9:.2f} GB", "cost": cost}  # fmt: skip
        self._estimate.clear()
        with self._estimate:
            for name, value in facts.items():
                with box():
                    text(desk.say(f"web.plan.estimate.{name}"), "small soft", "div")
                    text(value, "strong number", "div")
            text(desk.say("web.plan.estimate.rough"), "small soft")
        self._doubts.clear()
        with self._doubts:
            for doubt in self._plan["doubts"]:
                if doubt["code"].startswith(COULD_BE):
                    continue  # it stands where the task is chosen
                note(doubt["message"], "warn", desk.fix(doubt))

    # ── a base that is not here yet ──

    def _show_download(self) -> None:
        self._download.clear()
        if self._bases[self._base].path is None:
            with self._download:
                Download(self._desk, self._bases[self._base], self._arrived)

    async def _arrived(self) -> None:
        self._bases = {base.name: base for base in known(self._desk.house.settings.home)}
        self._show_choices()
        await self.think()

    # ── the button ──

    async def _train(self, *_: Any) -> None:
        desk = self._desk
        preset = None if self._preset == AUTOMATIC else self._preset
        name = (self._name.value or "").strip()[:64] or None
        order = Order(
            kind="training", model=self._base, training_file=self._dataset.file_id, suffix=name, preset=preset,
            settings=dict(self._wishes), reading=dict(self._dataset.reading),
            metadata={"dataset": self._dataset.id},
            request={"x_postil": {"preset": preset, **self._wishes} if preset else dict(self._wishes)},
        )  # fmt: skip
        job = await desk.do(desk.house.queue.create, desk.project, order)
        go(f"/jobs/{job.id}")


class Download:
    """A base model that is downloaded: a job like any other, which this page only watches."""

    def __init__(self, desk: Desk, base: Base, arrived: Callable[[], Any]) -> None:
        self._desk, self._base, self._arrived = desk, base, arrived
        self._place = Place(live=True)
        self._timer = soon(desk, self.look, every=1.0)

    async def look(self, *_: Any) -> None:
        desk = self._desk
        jobs = (await desk.do(desk.house.queue.list, desk.project, kinds=("base",), limit=50)).rows
        job = next((job for job in jobs if job.model == self._base.name), None)
        if job is not None and job.status == "succeeded":
            self._timer.deactivate()
            await self._arrived()
        elif job is None or job.status in ("failed", "cancelled"):
            self._timer.deactivate()
            self._place.show(job.id if job else None, partial(self._offer, job))
        else:
            self._place.show("running", self._follow)
            percent = percent_of(job)
            self._words.text = f"{desk.say(f'web.status.{job.status}')}  {percent:.0f} %"
            self._meter.at(percent)

    def _offer(self, job: Job | None) -> None:
        """The button, and why it failed before."""
        if job is not None and job.error:
            note(self._desk.say("web.job.failed"), "bad", fault_words(self._desk, job))
        size = self._base.shape.parameters * 2 / 1e9
        words = self._desk.say("web.base.download", name=self._base.name, size=f"{size:.1f}")
        act_button(self._desk, "base.fetch", words, self._begin, icon="download")

    def _follow(self) -> None:
        self._words = text("", "small soft", "span")
        self._meter = Meter(0.0, self._desk.say("web.base.downloading"))

    async def _begin(self, *_: Any) -> None:
        order = Order(kind="base", model=self._base.name, training_file=None)
        await self._desk.do(self._desk.house.queue.create, self._desk.project, order)
        self._timer.activate()
        await self.look()


def _tile(chosen: bool, choose: Callable[..., Any]) -> ui.element:
    made = box("tile", "button").props(f'type=button role=radio aria-checked="{str(chosen).lower()}"')
    return made.on("click", choose)


def _input(desk: Desk, one: Field, value: Any, wish: Callable[[Any], Any]) -> None:
    """The field of a form for one parameter, by its type."""

    async def changed(event: Any) -> None:
        if event.value is not None and event.value != value:
            await wish(event.value)

    heard = guarded(desk, changed)
    if one.choices:
        ui.select(_words(desk, one), value=value, label=one.label, on_change=heard).props("outlined dense")
    elif one.type == "boolean":
        ui.switch(one.label, value=bool(value), on_change=heard)
    elif one.type in ("integer", "number"):
        made = ui.number(one.label, value=value, min=one.minimum, max=one.maximum).props("outlined dense")
        made.on("blur", lambda: heard(made)).on("keydown.enter", lambda: heard(made))
    else:
        written = ui.input(one.label, value=str(value or "")).props("outlined dense")
        written.on("blur", lambda: heard(written)).on("keydown.enter", lambda: heard(written))


def _words(desk: Desk, one: Field) -> dict[str, str]:
    """The choices of a field, in words where there are any."""
    if one.name not in WORDED:
        return {choice: choice for choice in one.choices}
    return {choice: desk.say(f"{WORDED[one.name]}.{choice}") for choice in one.choices}


def _wishes(written: str) -> dict[str, Any]:
    """The settings in an address; nothing if somebody has changed it into what is none."""
    from postil.errors import PlanError

    try:
        found = json.loads(written or "{}")
        return check_settings(found) if isinstance(found, dict) else {}
    except (ValueError, PlanError):
        return {}


def _memory(here: Machine) -> int:
    return here.gpu_memory_bytes or here.memory_bytes
