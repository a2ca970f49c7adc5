"""Corrections that people made of answers: what becomes data for the next training."""

from __future__ import annotations

from functools import partial
from typing import Any

from postil.api import FileBody, file_of_corrections
from postil.web.desk import Desk
from postil.web.frame import act_button, card, go, table, text
from postil.web.jobs import moment
from postil.web.new import begin


async def show_corrections(desk: Desk) -> None:
    """The project's correction sets, each a click away from being a data set."""
    kept = desk.house.store.corrections
    rows = (await desk.do(kept.list, desk.project, limit=50)).rows
    if not rows:
        return
    counts = await desk.do(kept.counts, [row.id for row in rows])
    with card(desk.say("web.corrections.title")):
        text(desk.say("web.corrections.lead"), "soft")
        headers = [
            desk.say(f"web.corrections.{name}") for name in ("set", "rows", "corrected", "thumbs", "made", "act")
        ]
        table(headers, [
            (row.name, str(counts[row.id]["rows"]), str(counts[row.id]["corrected"]),
             f"{counts[row.id]['up']} / {counts[row.id]['down']}", moment(row.created_at),
             partial(_act, desk, row, counts[row.id]["corrected"]))
            for row in rows
        ], desk.say("web.corrections.title"))  # fmt: skip


def _act(desk: Desk, row: Any, corrected: int) -> None:
    async def use(event: Any) -> None:
        made = await desk.do(file_of_corrections, desk.house, desk.key, row.id, FileBody())
        go(await begin(desk, made.file, f"{row.name}.jsonl", {}))

    made = act_button(desk, "correction.use", desk.say("web.corrections.use"), use)
    if made is not None:
        made.set_enabled(corrected > 0)
