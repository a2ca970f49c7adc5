"""The keys of a project: make, see once, give another secret, revoke."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import Request
from nicegui import ui

from postil.api import KeyBody, KeyObject, create_key, key_objects, revoke_key, rotate_key
from postil.store import PAGES, SCOPES
from postil.web.desk import Desk, desk_of
from postil.web.frame import (
    act_button,
    box,
    button,
    card,
    chip,
    frame,
    heading,
    link,
    note,
    page,
    table,
    text,
)  # fmt: skip
from postil.web.jobs import moment, sure

USUAL = ("read", "train", "serve")


@page("/keys")
async def keys(request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "keys", desk.say("web.keys.title"), desk.say("web.keys.lead")):
        link(desk.say("web.audit.title"), "/audit")
        await _list(desk)
        _form(desk)


async def _list(desk: Desk) -> None:
    known = await desk.do(lambda: key_objects(desk.house, desk.house.store.keys.list(desk.project)))
    names = {key.id: key.name for key in known}
    with card(desk.say("web.keys.list")):
        headers = [desk.say(f"web.keys.{name}") for name in ("name", "scopes", "limits", "made", "acts")]
        rows = [
            (partial(_name, desk, key), ", ".join(desk.say(f"web.keys.scope.{scope}.name") for scope in key.scopes),
             _limits(desk, key), _made(desk, key, names), partial(_acts, desk, key))
            for key in sorted(known, key=lambda key: key.revoked_at is not None)
        ]  # fmt: skip
        table(headers, rows, desk.say("web.keys.list"))


def _name(desk: Desk, key: KeyObject) -> None:
    with box():
        text(key.name, "wrap strong", "div")
        if key.name == PAGES:
            text(desk.say("web.keys.of_link"), "small soft", "div")
        text(key.id, "mono small soft", "div")
        if key.revoked_at is not None:
            chip(desk.say("web.keys.revoked"), "bad")


def _limits(desk: Desk, key: KeyObject) -> str:
    parts = []
    if key.requests_per_minute is not None:
        parts.append(desk.say("web.keys.limit.requests", n=f"{key.requests_per_minute:,}"))
    if key.tokens_per_day is not None:
        parts.append(desk.say("web.keys.limit.tokens", n=f"{key.tokens_per_day:,}", used=f"{key.tokens_today:,}"))
    return " · ".join(parts) or desk.say("web.keys.limit.none")


def _made(desk: Desk, key: KeyObject, names: dict[str, str]) -> str:
    at = moment(key.created_at)
    return desk.say("web.keys.made_by", at=at, name=names.get(key.made_by, key.made_by)) if key.made_by else at


def _acts(desk: Desk, key: KeyObject) -> None:
    if key.revoked_at is not None:
        return
    with box("line"):
        # that of the pages has no secret that anybody could use; one's own would end this page before it is read
        if key.name != PAGES and key.id != desk.key.id:
            act_button(desk, "key.rotate", desk.say("web.keys.rotate"), partial(_rotate, desk, key))
        act_button(desk, "key.revoke", desk.say("web.keys.revoke"), partial(_revoke, desk, key))


def _form(desk: Desk) -> None:
    with card(desk.say("web.keys.new")):
        name = ui.input(desk.say("web.keys.new.name")).props("outlined dense maxlength=100").style("max-width: 24rem")
        text(desk.say("web.keys.scopes"), "strong")
        chosen = {}
        for scope in SCOPES:
            chosen[scope] = ui.checkbox(desk.say(f"web.keys.scope.{scope}"), value=scope in USUAL)
        with box("line"):
            requests = _number(desk, "web.keys.new.requests")
            tokens = _number(desk, "web.keys.new.tokens")
        text(desk.say("web.keys.new.limits"), "small soft")

        async def make(event: Any) -> None:
            scopes = [scope for scope, mark in chosen.items() if mark.value]
            if not (name.value or "").strip() or not scopes:
                ui.notify(desk.say("web.keys.new.lacks"), type="warning")
                return
            body = KeyBody.model_validate(
                {"name": name.value.strip(), "scopes": scopes, "requests_per_minute": _whole(requests.value),
                 "tokens_per_day": _whole(tokens.value)}
            )  # fmt: skip
            made = await desk.do(create_key, body, desk.house, desk.key)
            await _show_secret(desk, made)
            ui.navigate.reload()

        with box("line"):
            act_button(desk, "key.create", desk.say("web.keys.new.make"), make, main=True)


def _number(desk: Desk, label: str) -> ui.number:
    made = ui.number(desk.say(label), min=1, precision=0, format="%d")
    return made.props("outlined dense").style("max-width: 14rem")


def _whole(number: float | None) -> int | None:
    """An empty field, or one with less than 1 in it, sets no limit."""
    return int(number) if number is not None and number >= 1 else None


async def _rotate(desk: Desk, key: KeyObject, event: Any) -> None:
    if await sure(desk, desk.say("web.keys.rotate.sure", name=key.name)):
        await _show_secret(desk, await desk.do(rotate_key, key.id, desk.house, desk.key))
        ui.navigate.reload()


async def _revoke(desk: Desk, key: KeyObject, event: Any) -> None:
    with ui.dialog() as dialog, box("card stack").style("width: min(36rem, 92vw)"):
        text(desk.say("web.keys.revoke.sure", name=key.name))
        with_made = ui.checkbox(desk.say("web.keys.revoke.with_made"))
        with box("line"):
            button(desk.say("web.keys.revoke"), lambda: dialog.submit(True), main=True)
            button(desk.say("web.keys.revoke.not"), lambda: dialog.submit(False))
    if await dialog:
        await desk.do(partial(revoke_key, key.id, desk.house, desk.key, with_made=bool(with_made.value)))
        ui.navigate.reload()
    dialog.delete()


async def _show_secret(desk: Desk, key: KeyObject) -> None:
    """The secret is shown this once: only a fingerprint of it is kept."""
    with ui.dialog().props("persistent") as dialog, box("card stack").style("width: min(48rem, 92vw)"):
        heading(desk.say("web.keys.secret", name=key.name))
        note(desk.say("web.keys.secret.lead"), "warn")
        text(str(key.secret), "mono wrap key-secret", "div")
        with box("line"):
            button(desk.say("web.keys.secret.copy"), lambda: ui.clipboard.write(str(key.secret)), icon="content_copy")
            button(desk.say("web.keys.secret.done"), lambda: dialog.submit(True), main=True)
    await dialog
    dialog.delete()
