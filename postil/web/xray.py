"""What a training would learn of a data set, token by token; and what changed from one version to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Request
from nicegui import ui

from postil.api import CheckBody as Side
from postil.api import DiffBody, XrayBody, difference, xray
from postil.web.desk import Desk, desk_of
from postil.web.frame import (
    Text,
    box,
    card,
    chip,
    frame,
    labelled,
    note,
    page,
    pointer,
    soon,
    table,
    telling,
    text,
)
from postil.web.jobs import moment

if TYPE_CHECKING:
    from postil.store.tables import DataSet

SHOWN = 30  # examples
CLASSES = {"learned": "learned", "cut": "cut", "ignored": "soft"}


@page("/data/{dataset_id}/xray")
async def xray_page(dataset_id: str, request: Request, base: str = "") -> None:
    desk = desk_of(request)
    async with frame(desk, "data", desk.say("web.xray.title"), desk.say("web.xray.lead")):
        dataset = await desk.do(desk.house.store.datasets.get, desk.project, dataset_id)
        here = [one.name for one in await desk.do(desk.house.bases)]
        if not here:
            note(desk.say("web.plan.not_here"), "warn")
            return
        page = Xray(desk, dataset, base if base in here else here[0])
        ui.select(here, value=page.base, label=desk.say("web.plan.base"), on_change=page.choose).props("outlined dense")
        page.place = box("stack").props("aria-live=polite")
        soon(desk, page.look)


class Xray:
    """The X-ray of one data set with the tokenizer of one base."""

    def __init__(self, desk: Desk, dataset: DataSet, base: str) -> None:
        self._desk, self._dataset, self.base = desk, dataset, base
        self.place: Any = None

    def choose(self, event: Any) -> None:
        self.base = str(event.value)
        soon(self._desk, self.look)

    async def look(self, event: Any) -> None:
        desk, dataset = self._desk, self._dataset
        self.place.clear()
        with self.place:
            text(desk.say("web.data.checking"), "soft")
        body = XrayBody(file=dataset.file_id, base=self.base, **dataset.reading)
        with telling(desk, self.place):
            found = await desk.do(xray, body, desk.house, desk.key)
            self.place.clear()
            with self.place:
                self._show(found)

    def _show(self, found: Mapping[str, Any]) -> None:
        desk = self._desk
        whole = found["end_token_learned"] == found["examples"] and not found["cut"] and not found["all_masked"]
        words = desk.say("web.xray.verdict", n=found["examples"], ends=found["end_token_learned"], cut=found["cut"],
                         masked=found["all_masked"])  # fmt: skip
        note(words, "good" if whole else "bad")
        with box("line"):
            for name, look in CLASSES.items():
                Text("span", desk.say(f"web.xray.{name}"), look)
        order = sorted(found["rows"], key=lambda row: not row["faults"])
        for row in order[:SHOWN]:
            with card():
                with box("line"):
                    numbers = ", ".join(map(str, row["rows"][:10]))
                    text(desk.say("web.data.row", row=numbers), "small soft", "span")
                    for fault in row["faults"]:
                        chip(desk.say(f"issue.label_{fault}.message"), "bad")
                    if row["marks"]:
                        text(desk.say("issue.marks_as_text.message", n=row["marks"]), "small soft", "span")
                with labelled(box("mono wrap"), desk.say("web.xray.tokens")):
                    for piece, fate in row["pieces"]:
                        Text("span", piece, CLASSES[fate])
        if len(order) > SHOWN:
            text(desk.say("web.data.more_examples", n=len(order) - SHOWN), "small soft")


@page("/data/{dataset_id}/versions")
async def versions_page(dataset_id: str, request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "data", desk.say("web.versions.title"), desk.say("web.versions.lead")):
        rows = list(await desk.do(desk.house.store.datasets.versions, desk.project, dataset_id))
        headers = [desk.say(f"web.versions.{name}") for name in ("number", "changes", "made", "open")]
        table(headers, [
            (str(row.version), _counted(desk, row), moment(row.created_at),
             lambda row=row: pointer(desk.say("web.versions.see"), f"/data/{row.id}"))
            for row in reversed(rows)
        ], desk.say("web.versions.title"))  # fmt: skip
        if len(rows) < 2:
            text(desk.say("web.versions.one"), "soft")
            return
        numbers = {row.id: f"{desk.say('web.versions.number')} {row.version}" for row in rows}
        if not desk.can("dataset.compare"):
            return
        with card(desk.say("web.versions.diff")):
            with box("side"):
                before = ui.select(numbers, value=rows[0].id, label=desk.say("web.versions.before"))
                after = ui.select(numbers, value=rows[-1].id, label=desk.say("web.versions.after"))
            place = box("stack").props("aria-live=polite")

            async def look(event: Any) -> None:
                known = {row.id: row for row in rows}
                place.clear()
                with place:
                    text(desk.say("web.versions.comparing"), "soft")
                body = DiffBody(before=_side(known[str(before.value)]), after=_side(known[str(after.value)]))
                with telling(desk, place):
                    found = await desk.do(difference, body, desk.house, desk.key)
                    place.clear()
                    with place:
                        _show_difference(desk, found)

            before.on_value_change(lambda: soon(desk, look))
            after.on_value_change(lambda: soon(desk, look))
            soon(desk, look)


def _side(row: DataSet) -> Side:
    return Side(file=row.file_id, **row.reading)


def _counted(desk: Desk, row: DataSet) -> str:
    edits, without = len(row.reading.get("edits") or {}), len(row.reading.get("without") or ())
    return desk.say("web.data.corrected", edits=edits, rows=without)


def _show_difference(desk: Desk, found: Mapping[str, Any]) -> None:
    counts = found["counts"]
    text(desk.say("web.versions.counts", same=found["same"], **counts))
    headers = [desk.say(f"web.versions.{name}") for name in ("what", "rows", "before", "after")]
    rows = [(desk.say("web.versions.changed"), _rows(one["after"]), _words(one["before"]), _words(one["after"]))
            for one in found["changed"][:SHOWN]]  # fmt: skip
    rows += [(desk.say("web.versions.removed"), _rows(one), _words(one), "") for one in found["removed"][:SHOWN]]
    rows += [(desk.say("web.versions.added"), _rows(one), "", _words(one)) for one in found["added"][:SHOWN]]
    if rows:
        table(headers, rows, desk.say("web.versions.diff"))


def _rows(one: Mapping[str, Any]) -> str:
    return ", ".join(map(str, one["rows"][:10]))


def _words(one: Mapping[str, Any]) -> str:
    return "\n".join(f"{message['role']}: {message['content']}" for message in one["messages"])[:2000]
