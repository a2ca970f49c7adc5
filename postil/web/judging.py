"""A judge model compares the answers of an evaluation: its prompt and criteria stand here to be edited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from postil.api import JudgeBody, judge_defaults, judge_order
from postil.web.desk import Desk
from postil.web.frame import act_button, box, card, go, note, text


async def begin_judging(desk: Desk, evaluated: Mapping[str, str]) -> None:
    """A card in which a judge is asked. evaluated: job -> what it is called."""
    first = next(iter(evaluated))
    usual = await desk.do(judge_defaults, desk.house, desk.key, None, first, desk.lang)
    with card(desk.say("web.judge.title")):
        text(desk.say("web.judge.lead"), "soft")
        if not usual.judges:
            note(desk.say("web.judge.none"), "warn")
            return
        with box("side"):
            job = ui.select(dict(evaluated), value=first, label=desk.say("web.people.answers")).props("outlined")
            judge = ui.select(usual.judges, value=usual.judges[0], label=desk.say("web.judge.who")).props("outlined")
        criteria = ui.textarea(desk.say("web.judge.criteria"), value=usual.criteria).props("outlined autogrow")
        criteria.classes("w-full")
        with ui.expansion(desk.say("web.judge.prompt")).props("dense"):
            prompt = ui.textarea(desk.say("web.judge.prompt"), value=usual.prompt).props("outlined autogrow")
            prompt.classes("w-full")

        async def begin(event: Any) -> None:
            body = JudgeBody(job=str(job.value), judge=str(judge.value), prompt=prompt.value or None,
                             criteria=criteria.value or None, lang="zh" if desk.lang == "zh" else "en")  # fmt: skip
            order = await desk.do(judge_order, desk.house, desk.key, body)
            made = await desk.do(desk.house.queue.create, desk.project, order)
            go(f"/jobs/{made.id}")

        with box("line"):
            act_button(desk, "judgement.create", desk.say("web.judge.begin"), begin)
