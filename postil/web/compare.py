"""Before and after: the same question to a base, checkpoints and adapters on it, from one base in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import Request
from nicegui import ui

from postil.api import book
from postil.dataset import ask
from postil.evaluate import read_evaluation
from postil.serve import Piece
from postil.serve import Request as Question
from postil.web.desk import REFUSALS, Desk, desk_of
from postil.web.frame import (
    Text,
    act,
    act_button,
    address_shown,
    box,
    button,
    card,
    chip,
    frame,
    go,
    heading,
    labelled,
    note,
    nothing_yet,
    page,
    text,
    told,
)
from postil.web.jobs import model_names
from postil.web.result import asked as without
from postil.web.result import compare_path, plan_of
from postil.web.session import ROOT
from postil.web.shown import marked, show_chances

if TYPE_CHECKING:
    from postil.store.tables import Model

CHIPS = 8
CHOICES = ("seq_cls", "token_cls")  # tasks whose answers are no words of the model's own
MOST_SIDES = 4
MOST_TOKENS = 32_768  # of an answer


@page("/compare")
async def compare(request: Request, models: str = "", question: str = "") -> None:
    desk = desk_of(request)
    async with frame(desk, "compare", desk.say("web.compare.title"), desk.say("web.compare.lead")):
        known = {row.id: row for row in await desk.do(desk.house.store.models.list, desk.project)}
        if not known:
            nothing_yet(desk, desk.say("web.models.none"))
            return
        chosen = [name for name in models.split(",") if name in known] or [next(iter(known))]
        page = Compare(desk, known, chosen[: MOST_SIDES - 1])
        await page.build(question)


class Compare:
    """The sides of a comparison: the base, and the chosen models on it."""

    def __init__(self, desk: Desk, known: dict[str, Model], chosen: list[str]) -> None:
        self._desk, self._known, self._chosen = desk, known, chosen
        self._base = known[chosen[0]].base
        self._plan = plan_of(self._directory(chosen[0]))
        self._choices = self._plan.get("task") in CHOICES
        self._scale = 1.0
        self._answers: dict[str, str] = {}
        self._cut: set[str] = set()  # whose answer has come to the longest that is allowed
        self._most = int(self._plan.get("max_new_tokens", 256))  # tokens of an answer
        self._words = ""  # as they were asked last

    def _directory(self, model: str) -> Path:
        return self._desk.house.store.directory / self._known[model].directory

    async def build(self, question: str) -> None:
        desk = self._desk
        fitting = await desk.do(model_names, desk, [row for row in self._known.values() if row.base == self._base])
        self._names = fitting
        with card():
            ui.select(
                fitting, value=self._chosen, multiple=True, label=desk.say("web.compare.models"), on_change=self._choose
            ).props("outlined use-chips").classes("w-full")
            self._input = ui.textarea(desk.say("web.compare.question"), value=question).props("outlined autogrow")
            self._input.classes("w-full").on("keydown.ctrl.enter", act(desk, "compare.ask", self._ask))
            await self._chips()
            with box("line"):
                self._send = button(desk.say("web.compare.ask"), act(desk, "compare.ask", self._ask), main=True)
                with box("grow").style("max-width: 22rem"):
                    self._strength = text("", "small soft", "div")
                    slider = box("range", "input").props("type=range min=0 max=1.2 step=0.1 defaultValue=1")
                    labelled(slider, desk.say("web.compare.strength.label"))
                    slider.on("input", self._turn, js_handler="(event) => emit(event.target.value)")
                self._show_strength()
        with box("side") as self._sides:
            pass
        self._show_sides()

    async def _chips(self) -> None:
        """Held-out questions, which no training saw."""
        desk = self._desk
        if not desk.can("evaluation.read"):
            return
        found = await desk.do(read_evaluation, self._directory(self._chosen[0]))
        if found is None:
            return
        text(desk.say("web.compare.held_out"), "small soft")
        with box("line"):
            for row in found.rows[:CHIPS]:
                asked = str(row["question"])
                words = _shortened(asked, self._plan.get("instruction"))
                act_button(desk, "compare.ask", words, self._asking(asked))

    def _asking(self, asked: str) -> Any:
        async def run(*_: Any) -> None:
            await self._desk.still_may("evaluation.read")  # the question is of the evaluation
            self._input.value = without(asked, self._plan.get("instruction"))
            await self._ask()

        return run

    def _choose(self, event: Any) -> None:
        chosen = ",".join(list(event.value)[: MOST_SIDES - 1])
        if chosen:
            go(f"/compare?models={quote(chosen, safe='')}&question={quote(self._input.value or '', safe='')}")

    def _turn(self, event: Any) -> None:
        self._scale = round(min(1.2, max(0.0, float(event.args))), 1)
        self._show_strength()

    def _show_strength(self) -> None:
        self._strength.text = self._desk.say("web.compare.strength", scale=f"{self._scale:.1f}")

    # ── sides ──

    def _show_sides(self) -> None:
        desk = self._desk
        self._places: dict[str, Any] = {}
        for name in (self._base, *self._chosen):
            with self._sides, card():
                with box("line"):
                    chip(
                        desk.say("web.compare.base" if name == self._base else "web.compare.tuned"),
                        "" if name == self._base else "bad",
                    )
                    text(self._names.get(name, name), "strong wrap grow", "div")
                self._places[name] = box("answer").props("aria-live=polite")
                with self._places[name]:
                    text(desk.say("web.compare.empty"), "soft", "span")
                self._places[f"acts:{name}"] = box("line")

    async def _ask(self, *_: Any) -> None:
        desk, words = self._desk, (self._input.value or "").strip()
        if not words:
            ui.notify(desk.say("web.compare.no_question"), type="warning")
            return
        if not self._send.enabled:  # a question is being answered
            return
        self._send.disable()
        self._words = words
        address_shown(f"{ROOT}{compare_path(self._chosen)}&question={quote(words, safe='')}")
        try:
            await asyncio.gather(*(self._answer(name, words) for name in (self._base, *self._chosen)))
        finally:
            self._send.enable()
        if not self._choices:
            self._mark_differences()
        for name in self._chosen:
            self._offer(name, words)

    async def _answer(self, name: str, words: str) -> None:
        """Stream one side's answer into its place."""
        desk, loop, heard = self._desk, asyncio.get_running_loop(), asyncio.Queue[Piece | None]()
        place = self._places[name]
        place.clear()
        self._places[f"acts:{name}"].clear()
        with place:
            shown = Text("span", "")
            wait = text(desk.say("web.compare.thinking"), "soft", "span")

        def hear(piece: Piece) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, piece)

        def ended(running: Any) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, None)

        try:
            async with desk.house.lanes.place("answers", desk.project):
                engine = await desk.do(desk.house.engine, self._base, lane="engines")
                request = self._request(name, words)
                booking = await desk.do(book, desk.house, desk.key, engine, [request], lane="engines")
                try:
                    running = await desk.do(booking.start, booking.wanted[0], hear, ended, lane="engines")
                finally:
                    booking.close()  # no other will be started
                try:
                    while (piece := await heard.get()) is not None:
                        shown.text += piece.text
                    reply = running.result()  # it has ended
                finally:
                    running.cancel()
        except REFUSALS as error:
            place.clear()
            with place:
                told(desk, error)
            return
        wait.delete()
        self._answers[name] = reply.text
        self._cut = {*self._cut, name} if reply.finish == "length" else self._cut - {name}
        filled = marked(request.messages[-1].content, reply.text) if self._choices else None
        if callable(filled):
            place.clear()
            with place:
                filled()
        if reply.chances:
            with place:
                show_chances(reply.chances, name)
        self._show_cut(name)

    def _show_cut(self, name: str) -> None:
        if name not in self._cut:
            return
        with self._places[name]:
            note(self._desk.say("web.compare.cut"), "warn")
            if 2 * self._most <= MOST_TOKENS:
                words = self._desk.say("web.compare.longer", n=2 * self._most)
                act_button(self._desk, "compare.ask", words, self._longer)

    async def _longer(self, *_: Any) -> None:
        """The same question again, with room for an answer twice as long: nothing is trained for it."""
        self._most *= 2
        self._input.value = self._words
        await self._ask()

    def _request(self, name: str, words: str) -> Question:
        plan = self._plan
        messages = ask(words, plan.get("system"), plan.get("instruction"))
        request = Question(messages, max_tokens=self._most, temperature=0.0, project=self._desk.project)
        if name == self._base:  # asked as the first model is asked, so that the two can be compared
            return replace(request, adapter=self._directory(self._chosen[0]), scale=0.0)
        return replace(request, adapter=self._directory(name), scale=self._scale)

    def _mark_differences(self) -> None:
        """What the first model says otherwise than the base is marked in its answer."""
        first = self._chosen[0]
        if self._base not in self._answers or first not in self._answers:
            return
        place = self._places[first]
        place.clear()
        with place:
            for tag, piece in differences(self._answers[self._base], self._answers[first]):
                Text(tag, piece)
        self._show_cut(first)

    def _offer(self, name: str, words: str) -> None:
        """Copy; say whether it was good; correct it."""
        desk, answer = self._desk, self._answers.get(name, "")
        note_down = partial(self._note_down, name, words, answer)
        with self._places[f"acts:{name}"]:
            labelled(button("", lambda: ui.clipboard.write(answer), icon="content_copy"), desk.say("web.compare.copy"))
            if not desk.can("correction.add"):
                return
            for thumb, icon in (("up", "thumb_up"), ("down", "thumb_down")):
                keep = act(desk, "correction.add", partial(note_down, thumb=thumb))
                labelled(button("", keep, icon=icon), desk.say(f"web.compare.{thumb}"))
            correct = partial(self._correct, note_down, answer)
            act_button(desk, "correction.add", desk.say("web.compare.correct"), correct)

    async def _correct(self, note_down: Any, answer: str, *_: Any) -> None:
        """The right answer is asked for, and kept for the next training."""
        desk = self._desk
        with ui.dialog() as dialog, box("card stack").style("width: min(40rem, 92vw)"):
            heading(desk.say("web.compare.correct"))
            written = ui.textarea(value=answer).props("outlined autogrow autofocus").classes("w-full")
            labelled(written, desk.say("web.compare.right"))
            with box("line"):
                button(desk.say("web.data.keep"), lambda: dialog.submit(written.value), main=True)
                button(desk.say("web.no"), dialog.close)
        right = await dialog
        dialog.delete()
        if right is not None:
            await note_down(thumb="down", right=str(right))

    async def _note_down(
        self, name: str, words: str, answer: str, *_: Any, thumb: str, right: str | None = None
    ) -> None:
        """Into the project's correction set: rows of it become the next training's data."""
        desk, plan, kept = self._desk, self._plan, self._desk.house.store.corrections

        def add() -> None:
            sets = kept.list(desk.project, limit=1).rows
            into = sets[0] if sets else kept.create(desk.project, desk.say("web.corrections.name"))
            messages = ask(words, plan.get("system"), plan.get("instruction"))
            kept.add(
                desk.project,
                into.id,
                messages=[{"role": one.role, "content": one.content} for one in messages],
                answer=answer,
                by=str(desk.key.id),
                right=right,
                thumb=thumb,
                model=name,
            )

        await desk.do(add)
        ui.notify(desk.say("web.compare.kept"), type="positive")


def differences(before: str, after: str) -> list[tuple[str, str]]:
    """The text `after` in pieces: "ins" for what `before` does not have, "span" for the rest."""
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    if matcher.quick_ratio() < 0.3:  # two different texts: every letter would be marked
        return [("span", after)]
    pieces = [
        ("span" if tag == "equal" else "ins", after[low:high])
        for tag, _, _, low, high in matcher.get_opcodes()
        if high > low
    ]
    return pieces or [("span", after)]


def _shortened(asked: str, instruction: Any) -> str:
    words = without(asked, instruction)
    return words if len(words) <= 40 else words[:39] + "…"
