"""Data sets: what has come in, what is wrong in it, and how it is put right. The file itself is never touched."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from nicegui import ui

from postil.api import CheckBody, PreviewBody, check, preview
from postil.errors import StoreError
from postil.web.belongings import show_data_sets, show_files
from postil.web.corrections import with_action, with_changes, with_texts
from postil.web.desk import REFUSALS, Desk, desk_of
from postil.web.frame import (
    address_shown,
    box,
    button,
    card,
    chip,
    frame,
    go,
    guarded,
    labelled,
    link,
    note,
    nothing_yet,
    page,
    soon,
    text,
    told,
    way,
)
from postil.web.grid import WINDOW, Grid, scroll_to_rows
from postil.web.heaps import show_corrections
from postil.web.jobs import sure
from postil.web.newer import show_clash, show_newer
from postil.web.place import Place
from postil.web.session import ROOT
from postil.web.steps import steps

if TYPE_CHECKING:
    from postil.store.tables import DataSet

B = TypeVar("B", CheckBody, PreviewBody)
ROLES = ("question", "answer", "system", "conversation")
SEVERITY = {"error": "bad", "warning": "warn", "advice": "info"}
SHOWN_ISSUES = 20  # of one kind at a time
LEAST = 10  # examples to train on
NEWER_SECONDS = 5.0  # between two looks whether somebody else has saved a version
GOOD_ROWS, FIRST_ROWS, GAUGE_ROWS = 500, 100, 1000


@page("/data")
async def all_data(request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "data", desk.say("web.data.title"), desk.say("web.data.lead")):
        await show_corrections(desk)
        rows = (await desk.do(desk.house.store.datasets.list, desk.project, limit=100)).rows
        if not rows:
            nothing_yet(desk, desk.say("web.data.none"))
        else:
            show_data_sets(desk, rows)
        await show_files(desk)


@page("/data/{dataset_id}")
async def one_data_set(dataset_id: str, request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "new", desk.say("web.data.step.title"), desk.say("web.data.step.lead")):
        dataset = await desk.do(desk.house.store.datasets.get, desk.project, dataset_id)
        steps(desk, 1, dataset_id)
        page = Looking(desk, dataset)
        page.build()
        soon(desk, page.look)
        soon(desk, page.see_newer)
        soon(desk, page.see_newer, every=NEWER_SECONDS)


class Looking:
    """A data set on a page. Its corrections are in the store; here is only which part is looked at."""

    def __init__(self, desk: Desk, dataset: DataSet) -> None:
        self._desk, self._dataset = desk, dataset
        self._reading: dict[str, Any] = dict(dataset.reading)
        self._found: dict[str, Any] = {}
        self._part: dict[str, Any] = {}
        self._at = 0
        self._only: str | None = None  # "issues", or the code of one: only rows that have it
        self._checking = False
        self._keeping = asyncio.Lock()  # versions follow each other in the order of the clicks
        self._unsaved = False  # somebody else's version came between: what is on the page is in no version yet

    def build(self) -> None:
        desk = self._desk
        with box("line"):
            text(self._dataset.name, "strong wrap grow", "span")
            self._next = button(desk.say("web.data.next"), lambda: go(f"/data/{self._dataset.id}/plan"), main=True)
        self._next.disable()
        self._newer = Place("stack newer")  # seen wherever on the page somebody writes
        self._ground = box()  # stays, whatever is shown anew
        self._busy = box("busy").props("role=status")
        self._glance = box("stack").props("aria-live=polite")
        self._columns = Place()
        self._issues = box("stack")
        self._grid = Grid(desk, turn=self._turn, only=self._only_marked, change=self._change)

    async def look(self, *_: Any) -> None:
        """Have the file checked, again if it was corrected meanwhile, and show what was found."""
        if self._checking:
            return  # the check that runs looks again
        self._checking = True
        with self._ground:
            self._show_busy()
            try:
                if not self._part:
                    await self._first_look()
                while not await self._check(self._reading):
                    pass
            finally:
                self._checking = False
                self._show_busy()

    async def _first_look(self) -> None:
        """The rows as they stand in the file are there long before a large one is checked."""
        with suppress(*REFUSALS):
            self._part = await self._desk.do(preview, self._window(), self._desk.house, self._desk.key)
            self._show_table()

    async def _check(self, reading: dict[str, Any]) -> bool:
        """Whether this is what is to be checked still, and thus shown."""
        desk = self._desk
        try:
            found = await desk.do(check, self._body(CheckBody), desk.house, desk.key)
            part = await desk.do(preview, self._window(checked=True), desk.house, desk.key)
        except REFUSALS as error:
            if reading is self._reading:
                await self._show_refusal(error)
            return reading is self._reading
        if reading is self._reading:
            self._found, self._part = found, part
            self._show_next()
            self._show_glance()
            self._show_columns()
            self._show_issues()
            self._show_table()
        return reading is self._reading

    async def _show_refusal(self, error: Exception) -> None:
        """A file that is not understood: what can be said otherwise, or another file."""
        self._found = {}
        self._next.disable()
        self._issues.clear()
        self._glance.clear()
        with self._glance:
            told(self._desk, error)
            with box("line"):
                way(self._desk.say("web.data.another"), "/new")
                self._give_back()
        if self._part:
            self._show_columns()
        else:
            self._columns.empty()

    def _show_next(self) -> None:
        """The next step learns from a version: with what is in none yet, it has to wait."""
        self._next.set_enabled(self._found.get("examples", 0) >= LEAST and not self._unsaved)

    def _show_busy(self) -> None:
        """That it is being checked; what was found before is no longer to be clicked."""
        self._busy.clear()
        if self._checking:
            with self._busy:
                box("spin").props("aria-hidden=true")
                again = "web.newer.checking" if self._unsaved else "web.data.checking_again"
                text(self._desk.say(again if self._found else "web.data.checking"), tag="span")
        for place in (self._issues, self._glance):
            place.props("inert" if self._checking else "", remove="" if self._checking else "inert")

    def _body(self, kind: type[B], **more: Any) -> B:
        return kind(file=self._dataset.file_id, **self._reading, **more)

    def _window(self, *, checked: bool = False) -> PreviewBody:
        """Rows with what was found in them; before that is known, as they are."""
        if checked:
            return self._body(PreviewBody, check=True, offset=self._at, limit=WINDOW, only=self._only)
        return self._body(PreviewBody, show=self._reading.get("sheet"), offset=self._at, limit=WINDOW)

    async def _change(self, reading: dict[str, Any]) -> None:
        """Corrections are kept first, as a new version of the data set, then shown, then checked."""
        desk, sets = self._desk, self._desk.house.store.datasets
        self._reading = {name: value for name, value in reading.items() if value}
        async with self._keeping, desk.acting("dataset.revise"):
            old = self._dataset
            try:
                self._dataset = await desk.do(
                    sets.revise, desk.project, old.id, file_id=old.file_id, reading=self._reading
                )
            except StoreError as error:
                if error.code != "dataset_stale":
                    raise
                self._unsaved = True
            else:
                self._unsaved = False
                self._newer.empty()
        with self._ground:
            address_shown(f"{ROOT}/data/{self._dataset.id}")
            self._show_table()
        self._show_next()
        if self._unsaved:
            await self.see_newer()
        await self.look()

    # ── somebody else is at it, too ──

    async def see_newer(self, *_: Any) -> None:
        """Tell that there is a newer version, and with what is unsaved here, the ways on."""
        desk = self._desk
        async with self._keeping:
            try:
                newest = await desk.do(desk.house.store.datasets.newest, desk.project, self._dataset.id)
            except StoreError as error:  # deleted meanwhile: said once, and no more
                self._newer.show(error.code, partial(told, desk, error))
                return
            if newest.id == self._dataset.id:
                return
            load = partial(self._load, newest)
            if not self._unsaved:
                self._newer.show((newest.id, ()), partial(show_newer, desk, newest, load))
                return
            merged, both = with_changes(self._dataset.reading, self._reading, newest.reading)
            self._newer.show(
                (newest.id, both, merged),
                partial(
                    show_clash,
                    desk,
                    newest,
                    both,
                    on_top=partial(self._put_on_top, newest, merged),
                    apart=self._keep_apart,
                    load=load,
                ),
            )

    async def _put_on_top(self, newest: DataSet, merged: dict[str, Any], *_: Any) -> None:
        self._dataset = newest
        await self._change(merged)

    async def _keep_apart(self, *_: Any) -> None:
        desk, old = self._desk, self._dataset
        name = desk.say("web.newer.apart.name", name=old.name)[:200]
        row = await desk.do(desk.house.store.datasets.create, desk.project, name, old.file_id, self._reading)
        go(f"/data/{row.id}")

    async def _load(self, newest: DataSet, *_: Any) -> None:
        if not self._unsaved or await sure(self._desk, self._desk.say("web.newer.drop.sure")):
            go(f"/data/{newest.id}")

    # ── the table ──

    def _show_table(self) -> None:
        if self._part:
            rows = with_texts(self._part["rows"], self._reading)
            self._grid.show({**self._part, "rows": rows}, self._reading, self._only is not None)

    async def _turn(self, by: int) -> None:
        self._at = max(0, self._at + by)
        known = bool(self._found) and not self._checking
        self._part = await self._desk.do(preview, self._window(checked=known), self._desk.house, self._desk.key)
        with self._ground:
            self._show_table()

    async def _only_marked(self, event: Any) -> None:
        self._only, self._at = "issues" if event.value else None, 0
        await self._turn(0)

    async def _jump(self, row: int, *_: Any) -> None:
        self._only, self._at = None, max(0, int(row) - 4)
        await self._turn(0)
        with self._ground:
            scroll_to_rows()

    # ── at a glance ──

    def _show_glance(self) -> None:
        desk, found = self._desk, self._found
        self._glance.clear()
        with self._glance, card(desk.say("web.data.glance")):
            with box("line"):
                counts = {"rows": found["rows"], "not_data": found["not_data"], "dropped": len(found["dropped"]),
                          "examples": found["examples"], "repaired": len(found["repaired"])}  # fmt: skip
                for name, value in counts.items():
                    if name == "not_data" and not value:
                        continue
                    with box():
                        text(str(value), "big", "div")
                        text(desk.say(f"web.data.{name}"), "small soft", "div")
            self._gauge(int(found["examples"]))
            with box("line"):
                button(desk.say("web.data.marked"), guarded(desk, self._download_marked))
                link(desk.say("web.data.own"), f"/files/{self._dataset.file_id}/content").props("download")
                link(desk.say("web.xray.title"), f"/data/{self._dataset.id}/xray")
                link(desk.say("web.versions.title"), f"/data/{self._dataset.id}/versions")
                self._give_back()

    def _gauge(self, examples: int) -> None:
        desk = self._desk
        share = min(1.0, examples / GAUGE_ROWS)
        with labelled(box("gauge").props("role=img"), desk.say("web.data.gauge", n=examples)):
            box().style(f"left: calc({100 * share:.1f}% - 3px)")
        level = "few" if examples < FIRST_ROWS else "first" if examples < GOOD_ROWS else "good"
        text(desk.say(f"web.data.gauge.{level}", n=examples), "small soft")

    def _give_back(self) -> None:
        if self._reading.get("edits") or self._reading.get("without") or self._reading.get("mask"):
            button(self._desk.say("web.data.undo_all"), guarded(self._desk, self._undo_all))

    async def _undo_all(self, *_: Any) -> None:
        if await sure(self._desk, self._desk.say("web.data.undo_all.sure")):
            kept = {name: value for name, value in self._reading.items() if name not in ("edits", "without", "mask")}
            await self._change(kept)

    async def _download_marked(self, *_: Any) -> None:
        desk = self._desk
        ui.notify(desk.say("web.data.marking"), type="info")
        go(f"/data/{self._dataset.id}/marked.xlsx")

    # ── columns ──

    def _show_columns(self) -> None:
        """Anew only when there is something else to choose: in its fields somebody may be writing."""
        part, columns = self._part, self._named()
        state = (bool(self._found), columns, part["sheets"], part["sheet"], part["columns"])
        self._columns.show(state, partial(self._fill_columns, columns))

    def _fill_columns(self, columns: Mapping[str, Any]) -> None:
        desk, part = self._desk, self._part
        with card(desk.say("web.data.columns")):
            text(desk.say("web.data.columns.lead" if self._found else "web.data.columns.say"), "soft")
            if "message" in columns:
                text(desk.say("web.data.columns.chat"), "soft")
            with box("side"):
                if len(part["sheets"]) > 1:
                    names = [one["name"] for one in part["sheets"] if one["rows"]]
                    self._select(desk.say("web.data.sheet"), names, part["sheet"], partial(self._set, "sheet"))
                for role in ROLES:
                    choices = {"": "–", **{one["at"]: _column(one) for one in part["columns"]}}
                    given = str(columns.get(role, "")).partition(",")[0]
                    self._select(desk.say(f"web.data.role.{role}"), choices, given if given in choices else "",
                                 partial(self._set_column, role))  # fmt: skip
            with box("side"):
                for name in ("instruction", "system"):
                    written = ui.textarea(desk.say(f"web.data.{name}"), value=self._reading.get(name) or "")
                    written.props("outlined autogrow dense")
                    written.on("blur", guarded(desk, partial(self._set_text, name, written)))

    def _named(self) -> dict[str, Any]:
        """Role -> column, as a person has said it, and else as it was found."""
        return {**self._found.get("columns", {}), **(self._reading.get("columns") or {})}

    def _select(self, label: str, choices: Any, value: Any, act: Any) -> None:
        ui.select(choices, value=value, label=label, on_change=guarded(self._desk, act)).props("outlined dense")

    async def _set(self, name: str, event: Any) -> None:
        kept = {key: value for key, value in self._reading.items() if key not in ("columns", "edits", "without")}
        await self._change({**kept, name: event.value})

    async def _set_column(self, role: str, event: Any) -> None:
        before = self._named()
        columns = {**before, role: event.value}
        other = {"question": "answer", "answer": "question"}.get(role, "")
        if event.value and before.get(other) == event.value:  # the two change places: one column cannot be both
            columns[other] = before.get(role)
        known = {name: letter for name, letter in columns.items() if name in ROLES and letter}
        await self._change({**self._reading, "columns": known})

    async def _set_text(self, name: str, written: Any, *_: Any) -> None:
        value = (written.value or "").strip() or None
        if value != self._reading.get(name):
            await self._change({**{key: old for key, old in self._reading.items() if key != name},
                                **({name: value} if value else {})})  # fmt: skip

    # ── issues ──

    def _show_issues(self) -> None:
        desk = self._desk
        kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for issue in self._found["issues"]:
            kinds[issue["code"]].append(issue)
        order = ("error", "warning", "advice")
        self._issues.clear()
        with self._issues, card(desk.say("web.data.issues")):
            if not kinds:
                note(desk.say("web.data.no_issues"), "good")
                return
            mendable = [issue for issue in self._found["issues"] if issue.get("action")]
            with box("line"):
                text(desk.say("web.data.issues.lead", n=len(self._found["issues"]), kinds=len(kinds)), "soft grow")
                if mendable:
                    act = guarded(desk, partial(self._fix, mendable))
                    button(desk.say("web.data.fix_all", n=len(mendable)), act, main=True)
            for _, issues in sorted(kinds.items(), key=lambda kind: order.index(kind[1][0]["severity"])):
                self._kind(issues)

    def _kind(self, issues: list[dict[str, Any]]) -> None:
        desk, first = self._desk, issues[0]
        mendable = [issue for issue in issues if issue.get("action")]
        with box("stack").style("border-top: 1px solid var(--line); padding-top: .7rem"):
            with box("line"):
                chip(desk.say(f"web.severity.{first['severity']}"), SEVERITY[first["severity"]])
                text(first["message"], "grow wrap", "span")
                if len(issues) > 1:
                    chip(desk.say("web.data.times", n=len(issues)))
                if mendable:
                    button(desk.say(f"web.fix.{mendable[0]['action']['kind']}", n=len(mendable)),
                           guarded(desk, partial(self._fix, mendable)))  # fmt: skip
            text(desk.fix(first), "small soft wrap")
            if len(issues) > 1 or first["row"] is not None:
                with ui.expansion(desk.say("web.data.where")).props("dense"):
                    for issue in issues[:SHOWN_ISSUES]:
                        self._one(issue)
                    if len(issues) > SHOWN_ISSUES:
                        text(desk.say("web.data.more", n=len(issues) - SHOWN_ISSUES), "small soft")

    def _one(self, issue: dict[str, Any]) -> None:
        desk = self._desk
        with box("line"):
            where = issue["cell"] or (desk.say("web.data.row", row=issue["row"]) if issue["row"] is not None else "")
            if issue["row"] is not None:
                button(where, guarded(desk, partial(self._jump, issue["row"])))
            text(issue["message"], "grow wrap small", "span")
            if issue.get("action"):
                button(desk.say("web.fix.one"), guarded(desk, partial(self._fix, [issue])))

    async def _fix(self, issues: Sequence[Mapping[str, Any]], *_: Any) -> None:
        reading = self._reading
        for issue in issues:
            reading = with_action(reading, issue["action"])
        await self._change(reading)


def _column(one: Mapping[str, Any]) -> str:
    return f"{one['at']} · {one['name']}" if one["name"] and one["name"] != one["at"] else str(one["at"])
