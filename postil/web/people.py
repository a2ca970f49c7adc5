"""People judge: a vote in which nobody knows whose answer is whose, and the page of those who vote."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import Request
from nicegui import ui

from postil.api import BallotBody, address_of, begun_ballot, counted, differing
from postil.evaluate import shown_rows
from postil.locales import language
from postil.web.desk import Desk, desk_of
from postil.web.frame import (  # fmt: skip
    act,
    act_button,
    bar,
    box,
    button,
    card,
    frame,
    go,
    heading,
    note,
    page,
    plain_frame,
    table,
    text,
)
from postil.web.jobs import sure
from postil.web.reach import note_reach
from postil.web.session import ROOT

if TYPE_CHECKING:
    from postil.store.tables import Ballot, Rater

TONE = {"better": "good", "worse": "bad", "no_difference": "warn", "too_few": "warn"}
KEYS = {"a": "1", "b": "2", "same": "3", "both_bad": "4"}


def begin_vote(desk: Desk, evaluated: Mapping[str, str]) -> None:
    """A card in which a vote is begun. evaluated: job -> what it is called."""
    with card(desk.say("web.people.title")):
        text(desk.say("web.people.lead"), "soft")
        if not evaluated:
            text(desk.say("web.people.none"), "soft")
            return
        chosen = ui.select(dict(evaluated), value=next(iter(evaluated)), label=desk.say("web.people.answers"))
        chosen.props("outlined").classes("w-full")

        async def begin(event: Any) -> None:
            body = BallotBody(name=str(evaluated[str(chosen.value)])[:200], job=str(chosen.value))
            row = await desk.do(begun_ballot, desk.house, desk.key, body)
            go(f"/votes/{row.id}")

        with box("line"):
            act_button(desk, "ballot.create", desk.say("web.people.begin"), begin)


@page("/votes/{ballot_id}")
async def one_vote(ballot_id: str, request: Request) -> None:
    desk = desk_of(request)
    url = str(request.base_url).removesuffix("/").removesuffix(ROOT) + ROOT
    async with frame(desk, "evaluations", desk.say("web.vote.title")):
        ballot = await desk.do(desk.house.store.ballots.get, desk.project, ballot_id)
        text(ballot.name, "strong wrap")
        await _result(desk, ballot)
        await _raters(desk, ballot, url)
        with box("line"):
            if ballot.closed_at is None:
                act_button(desk, "ballot.close", desk.say("web.vote.close"), partial(_close, desk, ballot.id))
            act_button(desk, "ballot.delete", desk.say("web.vote.delete"), partial(_delete, desk, ballot.id))


async def _result(desk: Desk, ballot: Ballot) -> None:
    tally = await desk.do(counted, desk.house, ballot)
    with card(desk.say("web.vote.result")):
        if not tally.votes:
            text(desk.say("web.vote.no_votes"), "soft")
            return
        note(tally.preference.words(desk.lang), TONE[tally.preference.outcome])
        agreed = tally.agreement
        if agreed.percent is not None:
            kappa = "–" if agreed.kappa is None else f"{agreed.kappa:.2f}"
            text(desk.say("web.vote.agreement", percent=round(100 * agreed.percent), kappa=kappa, rows=agreed.rows))


async def _raters(desk: Desk, ballot: Ballot, url: str) -> None:
    store = desk.house.store.ballots
    raters, votes = await desk.do(store.raters, ballot), await desk.do(store.votes, ballot)
    of = len(differing(ballot.rows))
    with card(desk.say("web.vote.raters")):
        text(desk.say("web.vote.raters.lead"), "soft")
        if raters:
            headers = [desk.say(f"web.vote.{name}") for name in ("name", "voted", "act")]
            table(headers, [(row.name, f"{len(votes[row.id])} / {of}", partial(_rater_acts, desk, row, url))
                            for row in raters], desk.say("web.vote.raters"))  # fmt: skip
        if ballot.closed_at is not None or not desk.can("rater.invite"):
            return
        note_reach(desk, url)
        name = ui.input(desk.say("web.vote.invite.name")).props("outlined dense").style("max-width: 24rem")

        async def invite(event: Any) -> None:
            _, token = await desk.do(store.invite, desk.project, ballot.id, (name.value or "").strip() or "–")
            await _show_link(desk, f"{url}/rate/{token}")
            ui.navigate.reload()

        with box("line"):
            act_button(desk, "rater.invite", desk.say("web.vote.invite"), invite, main=True)


def _rater_acts(desk: Desk, row: Rater, url: str) -> None:
    async def renew(event: Any) -> None:
        _, token = await desk.do(desk.house.store.ballots.new_link, desk.project, row.id)
        await _show_link(desk, f"{url}/rate/{token}")

    act_button(desk, "rater.renew", desk.say("web.vote.new_link"), renew)


async def _show_link(desk: Desk, address: str) -> None:
    """The link is shown this once: only a fingerprint of it is kept."""
    with ui.dialog() as dialog, box("card stack").style("width: min(44rem, 92vw)"):
        heading(desk.say("web.vote.link"))
        text(desk.say("web.vote.link.lead"), "soft")
        text(address, "mono rater-link", "div")
        note_reach(desk, address)
        with box("line"):
            button(desk.say("web.vote.copy"), lambda: ui.clipboard.write(address), icon="content_copy")
            button(desk.say("web.vote.done"), lambda: dialog.submit(True), main=True)
    await dialog
    dialog.delete()


async def _close(desk: Desk, ballot_id: str, event: Any) -> None:
    if await sure(desk, desk.say("web.vote.close.sure")):
        await desk.do(desk.house.store.ballots.close, desk.project, ballot_id)
        ui.navigate.reload()


async def _delete(desk: Desk, ballot_id: str, event: Any) -> None:
    if await sure(desk, desk.say("web.vote.delete.sure")):
        await desk.do(desk.house.store.ballots.delete, desk.project, ballot_id)
        go("/evaluations")


# ── the page of those who vote ──


@page("/rate/{token}")
async def rate(token: str, request: Request) -> None:
    """Whoever has the link may vote, and sees nothing else."""
    desk = Desk(request.app.state.house, None, language(), dict(request.cookies), address=address_of(request))
    link = request.scope["state"]["link"]  # looked up by SignIn, before this page began to be built
    async with plain_frame(desk, desk.say("web.rate.title")):
        await Voting(desk, token, link.ballot, link.rater).build()


class Voting:
    """One rater before one ballot: question after question, by mouse or by the keys 1 to 4."""

    def __init__(self, desk: Desk, token: str, ballot: Ballot, rater: Rater) -> None:
        self._desk, self._token, self._ballot, self._rater = desk, token, ballot, rater
        asked = differing(ballot.rows)
        self._rows = [row for row in shown_rows(ballot.rows, ballot.seed, rater.id) if row["row"] in asked]
        self._votes: dict[int, str] = {}
        self._at = 0

    async def build(self) -> None:
        votes = await self._desk.do(self._desk.house.store.ballots.votes, self._ballot)
        self._votes = {row: vote.choice for row, vote in votes.get(self._rater.id, {}).items()}
        self._at = next((i for i, row in enumerate(self._rows) if row["row"] not in self._votes), len(self._rows))
        heading(self._ballot.question, 1)
        self._place = box("stack").props("aria-live=polite")
        ui.keyboard(on_key=self._key)
        self._show()

    def _show(self) -> None:
        desk, rows = self._desk, self._rows
        self._place.clear()
        with self._place:
            share = 100 * len(self._votes) / max(1, len(rows))
            bar(share, desk.say("web.rate.progress"))
            text(desk.say("web.rate.voted", n=len(self._votes), of=len(rows)), "small soft")
            if self._ballot.closed_at is not None:
                note(desk.say("web.rate.closed"), "info")
                return
            if self._at >= len(rows):
                note(desk.say("web.rate.thanks"), "good")
                button(desk.say("web.rate.again"), lambda: self._go(0))
                return
            self._one(rows[self._at])

    def _one(self, row: Mapping[str, Any]) -> None:
        desk = self._desk
        with card(desk.say("web.result.question")):
            text(row["question"], "wrap", "div")
            if row["reference"]:
                with ui.expansion(desk.say("web.result.wanted")).props("dense"):
                    text(row["reference"], "wrap", "div")
        with box("side"):
            for side in ("a", "b"):
                with card(desk.say(f"web.rate.{side}")):
                    text(row[side], "answer", "div")
        given = self._votes.get(int(row["row"]))
        with box("line"):
            for choice, key in KEYS.items():
                words = f"{desk.say(f'web.rate.choose.{choice}')}  [{key}]"
                made = button(words, act(desk, "vote", partial(self._vote, choice)), main=choice == given)
                made.props(f'aria-pressed="{str(choice == given).lower()}"')
        with box("line"):
            if self._at:
                button(desk.say("web.rate.back"), lambda: self._go(self._at - 1))

    def _go(self, at: int) -> None:
        self._at = at
        self._show()

    async def _vote(self, choice: str, event: Any) -> None:
        at = self._at
        row = int(self._rows[at]["row"])
        ballots = self._desk.house.store.ballots
        _, rater = await self._desk.do(ballots.of_link, self._token)  # another link may have taken its place
        await self._desk.do(ballots.vote, rater, row, choice)
        self._votes[row] = choice
        self._go(at + 1)  # not from where it is by now: a key pressed twice must not leave a question out

    async def _key(self, event: Any) -> None:
        choice = next((choice for choice, key in KEYS.items() if event.key == key), None)
        if choice and event.action.keydown and not event.action.repeat and self._at < len(self._rows):
            await act(self._desk, "vote", partial(self._vote, choice))(event)
