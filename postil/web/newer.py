"""Somebody else has changed what stands on this page: it is facts, what was typed stays, each way on is one click."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from postil.web.corrections import Spot
from postil.web.desk import Desk
from postil.web.frame import act_button, box, button, guarded, note
from postil.web.jobs import moment

if TYPE_CHECKING:
    from postil.store.tables import DataSet

Act = Callable[..., Awaitable[None]]
MOST_SPOTS = 12  # named in a sentence


def show_newer(desk: Desk, newest: DataSet, load: Act) -> None:
    """There is a newer version; nothing on this page is unsaved."""
    facts = {"version": newest.version, "when": moment(newest.created_at)}
    note(desk.say("web.newer.there", **facts), "warn")
    with box("line"):
        button(desk.say("web.newer.load", **facts), guarded(desk, load), main=True)


def show_clash(desk: Desk, newest: DataSet, both: Sequence[Spot], *, on_top: Act, apart: Act, load: Act) -> None:
    """A newer version came between: what was put right here is not saved yet, and stays on the page until it is.

    both: spots that were changed there and here.
    """
    facts = {"version": newest.version, "when": moment(newest.created_at)}
    spots = ", ".join(_named(desk, spot) for spot in both[:MOST_SPOTS]) + (", …" if len(both) > MOST_SPOTS else "")
    more = desk.say("web.newer.both", spots=spots) if both else desk.say("web.newer.none_twice")
    note(desk.say("web.newer.between", **facts), "bad", more)
    with box("line"):
        act_button(desk, "dataset.revise", desk.say("web.newer.on_top", **facts), on_top, main=True)
        act_button(desk, "dataset.create", desk.say("web.newer.apart"), apart)
        button(desk.say("web.newer.drop", **facts), guarded(desk, load))


def _named(desk: Desk, spot: Spot) -> str:
    name, key = spot
    if name == "edits":
        return str(key)
    if name == "without":
        return desk.say("web.data.row", row=key)
    label: Any = f"web.data.role.{key}" if name == "columns" else f"web.newer.of.{name}"
    return desk.say(label)
