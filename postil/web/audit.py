"""Who did what in this project, newest first."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from fastapi import Request
from nicegui import ui

from postil.api import AuditObject, audit_object
from postil.locales import knows
from postil.store import ACTS
from postil.web.desk import Desk, desk_of
from postil.web.frame import card, frame, go, link, page, table, text
from postil.web.jobs import moment

PAGE = 50
WORDED = {  # acts beside which words of ours stand, with where these are said
    "model_released": "web.outcome.{}",
    "model_held": "web.outcome.{}",
    "job_ordered": "web.kind.{}",
    "key_made": "web.keys.scope.{}.name",
}


@page("/audit")
async def audit(request: Request, act: str = "", after: str = "") -> None:
    desk = desk_of(request)
    async with frame(desk, "keys", desk.say("web.audit.title"), desk.say("web.audit.lead")):
        link(desk.say("web.keys.title"), "/keys")
        act = act if act in ACTS else ""
        _filter(desk, act)
        listing = desk.house.store.audit.list
        found = await desk.do(listing, desk.project, act=act or None, after=after or None, limit=PAGE)
        with card():
            if not found.rows:
                text(desk.say("web.audit.none"), "soft")
                return
            headers = [desk.say(f"web.audit.{name}") for name in ("at", "who", "act", "target", "reason", "address")]
            table(headers, [_row(desk, audit_object(row)) for row in found.rows], desk.say("web.audit.title"))
        if found.more:
            link(desk.say("web.audit.older"), f"/audit?act={act}&after={quote(found.rows[-1].id)}")


def _filter(desk: Desk, act: str) -> None:
    acts = {"": desk.say("web.audit.all"), **{name: desk.say(f"audit.act.{name}") for name in ACTS}}

    def choose(event: Any) -> None:
        go(f"/audit?act={event.value}")

    chosen = ui.select(acts, value=act, label=desk.say("web.audit.act"), on_change=choose)
    chosen.props("outlined dense").style("max-width: 20rem")


def _reason(desk: Desk, line: AuditObject) -> str:
    """What stands beside an act; the words of ours in it are said in the reader's language."""
    pattern = WORDED.get(line.act, "")

    def said(part: re.Match[str]) -> str:
        key = pattern.format(part[0])
        return desk.say(key) if knows(key) else part[0]

    return re.sub("[a-z_]+", said, line.reason) if pattern else line.reason


def _row(desk: Desk, line: AuditObject) -> tuple[str, ...]:
    act = desk.say(f"audit.act.{line.act}")
    times = desk.say("web.audit.times", act=act, times=line.times) if line.times > 1 else act
    who = desk.say("web.audit.nobody") if line.key_id == "-" else f"{line.key_name} ({line.key_id})"
    return moment(line.last_at), who, times, line.target, _reason(desk, line), line.address
