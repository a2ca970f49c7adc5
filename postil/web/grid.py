"""The table of a data set: its rows as they stand in the file, what was found in each, and a cell to put right."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from nicegui import ui

from postil.locales import knows
from postil.web.corrections import LEFT_OUT, with_action, with_edit, with_row, without_edit
from postil.web.desk import Desk
from postil.web.frame import Text, box, button, card, chip, guarded, heading, labelled, text

WINDOW = 50  # rows at a time
LOOKS = {"dropped": "unused", "not_data": "aside"}
# A table that is shown anew would lose the cell that the keyboard stands on.
FOLLOW = """if (!window.postilFollows) {
  window.postilFollows = true;
  document.addEventListener('focusin', (event) => {
    if (event.target.closest('.q-dialog')) return;
    window.postilCell = (event.target.id || '').startsWith('cell-') ? event.target.id : null;
  });
}"""
RETURN = """setTimeout(() => {
  const free = !document.activeElement || document.activeElement === document.body;
  if (free && window.postilCell) document.getElementById(window.postilCell)?.focus({preventScroll: true});
}, 350);"""

Turn = Callable[[int], Awaitable[None]]
Change = Callable[[dict[str, Any]], Awaitable[None]]


class Grid:
    """A window of rows. It keeps nothing: `turn` shows others (by so many), `only` those with findings, `change` hears
    of new corrections."""

    def __init__(self, desk: Desk, *, turn: Turn, only: Callable[[Any], Awaitable[None]], change: Change) -> None:
        self._desk, self._turn, self._only, self._change = desk, turn, only, change
        self._reading: Mapping[str, Any] = {}
        self._dialogs = box()  # not in the table, which may be shown anew under an open window
        self._place = box("stack")
        ui.run_javascript(FOLLOW)

    def show(self, part: Mapping[str, Any], reading: Mapping[str, Any], only: bool) -> None:
        desk, self._reading = self._desk, reading
        self._place.clear()
        with self._place, card(desk.say("web.data.table")):
            with box("line"):
                text(desk.say("web.data.table.lead"), "soft grow")
                ui.switch(desk.say("web.data.only_marked"), value=only, on_change=guarded(desk, self._only))
            outer = labelled(box("table").props("tabindex=0 role=region id=rows"), desk.say("web.data.table"))
            with outer, box(tag="table"):
                self._heads(part)
                with box(tag="tbody"):
                    for row in part["rows"]:
                        self._row(row)
            self._turning(part)
        ui.run_javascript(RETURN)

    def _heads(self, part: Mapping[str, Any]) -> None:
        with box(tag="thead"), box(tag="tr"):
            Text("th", "#", "rowno").props("scope=col")
            for column in part["columns"]:
                with box(tag="th").props("scope=col"):
                    text(column["name"] or column["at"], tag="div")
                    if column["role"]:
                        chip(role_words(self._desk, column["role"]), "info")

    def _row(self, row: Mapping[str, Any]) -> None:
        marks = {issue["cell"]: issue for issue in reversed(row["issues"])}
        whole = marks.get(None)
        with box(tag="tr") as line:
            line.classes(LOOKS.get(row["state"] or "", ""))
            number = Text("td", str(row["number"]), "rowno" + (" marked" if row["issues"] else ""))
            if whole:
                number.props["title"] = whole["message"]
            for cell in row["cells"]:
                self._cell(row, cell, marks.get(cell["at"]))

    def _cell(self, row: Mapping[str, Any], cell: Mapping[str, Any], mark: Mapping[str, Any] | None) -> None:
        mended = mended_text(row, cell)
        words = mended["after"] if mended else cell["text"]
        shown = Text("td", words, "wrap" + (" changed" if "before" in cell or mended else ""))
        if mended:
            shown.props["title"] = f"{mended['message']}\n{cell['text']}"
        if mark:
            shown.classes("marked" + (" bad" if mark["severity"] == "error" else ""))
            shown.props["title"] = mark["message"]
        shown.props("tabindex=0 role=button")
        shown.props["id"] = f"cell-{cell['at']}"
        if not words.strip():
            labelled(shown, self._desk.say("web.data.edit", cell=cell["at"]))
        act = guarded(self._desk, partial(self._edit, row, cell))
        shown.on("click", act, args=[])
        shown.on("keydown.enter", act, args=[])

    def _turning(self, part: Mapping[str, Any]) -> None:
        desk, at, total = self._desk, int(part["offset"]), int(part["total"])
        with box("line"):
            last = min(total, at + WINDOW)
            told = desk.say("web.data.window", first=min(total, at + 1), last=last, total=total)
            text(told, "small soft", "span")
            if at:
                button(desk.say("web.data.before"), guarded(desk, lambda *_: self._turn(-WINDOW)))
            if last < total:
                button(desk.say("web.data.after"), guarded(desk, lambda *_: self._turn(WINDOW)))

    async def _edit(self, row: Mapping[str, Any], cell: Mapping[str, Any], *_: Any) -> None:
        """A cell is put right in a window above the page."""
        desk, out = self._desk, row["code"] == LEFT_OUT
        if cell.get("length"):
            ui.notify(desk.say("web.data.too_long_here"), type="warning")
            return
        with self._dialogs, ui.dialog() as dialog, box("card stack").style("width: min(40rem, 92vw)"):
            heading(desk.say("web.data.edit", cell=cell["at"]))
            written = ui.textarea(value=cell["text"]).props("outlined autogrow autofocus").classes("w-full")
            labelled(written, desk.say("web.data.edit", cell=cell["at"]))
            if "before" in cell:
                text(desk.say("web.data.stood", text=cell["before"]), "small soft wrap")
            with box("line"):
                button(desk.say("web.data.keep"), lambda: dialog.submit("text"), main=True)
                button(desk.say("web.data.use_row" if out else "web.data.leave_out"), lambda: dialog.submit("row"))
                if "before" in cell:
                    button(desk.say("web.data.undo"), lambda: dialog.submit("undo"))
                button(desk.say("web.no"), dialog.close)
        answer, value = await dialog, written.value or ""
        dialog.delete()
        reading, number = self._reading, int(row["number"])
        if answer == "undo":
            await self._change(without_edit(reading, cell["at"]))
        elif answer == "row":
            out_of = with_action(reading, {"kind": "leave_out", "rows": [number]})
            await self._change(with_row(reading, number) if out else out_of)
        elif answer == "text" and (value != cell["text"] or out):  # who mends a row wants it to be used
            edited = with_edit(reading, cell["at"], value) if value != cell["text"] else reading
            await self._change(with_row(edited, number))


def mended_text(row: Mapping[str, Any], cell: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The repair that masks personal data in a cell; none if it is learned as it stands."""
    for repair in row.get("repaired", ()):
        if repair["code"] == "masked" and repair["cell"] == cell["at"] and repair["before"] == cell["text"].strip():
            return dict(repair)
    return None


def role_words(desk: Desk, role: str) -> str:
    key = f"web.data.role.{role}"
    return desk.say(key) if knows(key) else role


def scroll_to_rows() -> None:
    ui.run_javascript("document.getElementById('rows').scrollIntoView({behavior: 'smooth'})")
