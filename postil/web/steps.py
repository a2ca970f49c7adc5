"""The three steps from a sheet to a model, at the head of their pages."""

from __future__ import annotations

from postil.web.desk import Desk
from postil.web.frame import box, labelled, link, text

NAMES = ("data", "plan", "train")


def steps(desk: Desk, here: int, dataset_id: str = "") -> None:
    """`here`: 1 the data, 2 model and settings, 3 training."""
    with labelled(box("steps", "ol"), desk.say("web.steps.label")):
        for number, name in enumerate(NAMES, 1):
            with box(tag="li"):
                words = desk.say(f"web.steps.{name}")
                path = {1: f"/data/{dataset_id}", 2: f"/data/{dataset_id}/plan"}.get(number) if dataset_id else None
                made = link(words, path) if path and number != here else text(words, tag="span")
                if number == here:
                    made.props("aria-current=step")
