"""Parts of a page that follow what changes: built anew only when it must be, and never under a finger.

Whatever can be pressed or typed into stands in a Place and is rebuilt only when its own state changes; figures and bars
change where they stand. What is rebuilt by a clock loses the press that began before and the focus of the keyboard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from postil.web.desk import Desk
from postil.web.frame import TONES, Text, bar, box, chip

NOTHING = object()


class Place:
    """A box whose contents belong to a state."""

    def __init__(self, classes: str = "stack", *, live: bool = False) -> None:
        self.box = box(classes)
        if live:
            self.box.props("aria-live=polite")
        self._state: Any = NOTHING

    def show(self, state: Any, fill: Callable[[], Any]) -> bool:
        """Fill the box anew if it shows another state than this one; whether it did. state: anything with an equal."""
        if self._state is not NOTHING and state == self._state:
            return False
        self.box.clear()
        with self.box:
            fill()
        self._state = state
        return True

    def empty(self) -> None:
        """Nothing stands here until the next `show`."""
        self.box.clear()
        self._state = NOTHING


class Meter:
    """A bar that moves where it stands, 0 to 100."""

    def __init__(self, percent: float, label: str) -> None:
        self._outer = bar(percent, label)
        self._inner: ui.element = self._outer.default_slot.children[0]

    def at(self, percent: float) -> None:
        reached = min(100.0, max(0.0, percent))
        self._outer.props(f'aria-valuenow="{reached:.0f}"')
        self._inner.style(f"width: {reached:.1f}%")


class StatusChip:
    """The state of a job, which changes where it stands."""

    def __init__(self, desk: Desk, status: str) -> None:
        self._desk, self._tone = desk, TONES.get(status, "")
        self._chip: Text = chip(desk.say(f"web.status.{status}"), self._tone)

    def at(self, status: str) -> None:
        tone = TONES.get(status, "")
        self._chip.text = self._desk.say(f"web.status.{status}")
        self._chip.classes(remove=self._tone, add=tone)
        self._tone = tone
