"""The run doctor on a job's page: what is wrong, in plain words, and the click that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from postil.api import case_of, order_again
from postil.evaluate import diagnose
from postil.records import Finding
from postil.web.desk import Desk
from postil.web.frame import act_button, box, card, go, note

if TYPE_CHECKING:
    from postil.store.tables import Job

TONES = {"error": "bad", "warning": "warn", "advice": "info"}


def findings_of(desk: Desk, job: Job) -> list[Finding]:
    """What the doctor says of this training."""
    return diagnose(case_of(desk.house, job))


def show_findings(desk: Desk, job: Job, found: Sequence[Finding]) -> None:
    """A card with what the doctor says; nothing when he has nothing to say."""
    if not found:
        return
    with card(desk.say("web.findings.title")):
        for finding in found:
            with box("stack"):
                note(finding.message(desk.lang), TONES[finding.severity], finding.fix(desk.lang))
                if finding.settings:
                    words = ", ".join(f"{desk.say(f'plan.{name}.label')} = {_shown(value)}"
                                      for name, value in finding.settings.items())  # fmt: skip
                    with box("line"):
                        act_button(desk, "job.again", desk.say("web.findings.again", settings=words),
                                   partial(_again, desk, job, finding))  # fmt: skip


async def _again(desk: Desk, job: Job, finding: Finding, *_: Any) -> None:
    """The same training with the settings that the doctor proposes."""

    def order() -> Job:
        labels = desk.house.queue.labels([job.id])[job.id]
        wanted = order_again(job, labels, dict(finding.settings), None)
        return desk.house.queue.create(desk.project, wanted)

    made = await desk.do(order)
    go(f"/jobs/{made.id}")


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
