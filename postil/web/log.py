"""What a job told, as a person reads it: every event is a sentence in both languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from postil.locales import in_a_row, knows
from postil.web.desk import Desk

if TYPE_CHECKING:
    from postil.store.tables import Job, JobEvent

# Events without a code of ours have OpenAI's English sentences; they are told apart by the beginning of their key.
BY_KEY = ("created", "validating", "validated", "started", "checkpoint", "model", "end")
MOST_ROWS = 20


def event_words(desk: Desk, job: Job, event: JobEvent) -> str:
    """The sentence of an event in this person's language."""
    values: dict[str, Any] = dict(event.data or {})
    kind = (event.key or "").partition(":")[0]
    if event.code == "job_failed":
        return desk.say("event.job_failed", message=fault_words(desk, job))
    if event.code and knows(f"event.{event.code}"):
        return desk.say(f"event.{event.code}", **values)
    if event.type == "metrics":
        return _step_words(desk, values)
    return desk.say(f"web.event.{kind}", **values) if kind in BY_KEY else event.message


def _step_words(desk: Desk, losses: dict[str, Any]) -> str:
    numbers = {
        name: f"{losses[key]:.2f}" if key in losses else "–"
        for name, key in (("loss", "train_loss"), ("held_out", "valid_loss"))
    }
    key = "web.event.step_checked" if "valid_loss" in losses else "web.event.step"
    return desk.say(key, step=losses["step"], total_steps=losses["total_steps"], **numbers)


def fault_words(desk: Desk, job: Job) -> str:
    """Why it failed and what to do, in this person's language."""
    error = job.error or {}
    code = error.get("postil")
    if not (code and knows(f"error.{code}.cause")):
        return str(error.get("message", ""))
    values = dict(error.get("values", {}))
    try:
        words = in_a_row(desk.say(f"error.{code}.cause", **values), desk.remedy(str(code), **values))
    except KeyError:  # the row is from a version whose sentence had other words in it
        words = str(error.get("message", ""))
    rows = ", ".join(map(str, list(error.get("rows", ()))[:MOST_ROWS]))
    return words + (f" {desk.say('web.job.rows_named', rows=rows)}" if rows else "") + f" [{code}]"
