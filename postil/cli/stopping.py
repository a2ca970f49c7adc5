"""Ctrl-C during a training. Exit codes as shells know them: 130 for Ctrl-C, 143 for a request to end (SIGTERM)."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from postil.errors import TrainError

if TYPE_CHECKING:
    from postil import flow
    from postil.records import Event
    from postil.show import Screen

BY_SIGNAL = 128  # what a shell adds to the number of the signal that ended a program


class Stopping:
    """What a person wishes of a run, and whether it makes updates, after each of which it looks at the wish."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._trains = False
        self.signal: int | None = None  # the first that came

    def stop(self) -> bool:
        return self.signal is not None

    def emit(self, event: Event) -> None:
        if event.type in ("stage", "metrics"):
            self._trains = event.data.get("stage", "train") == "train"
        self._screen.emit(event)

    def hear(self, number: int, frame: object) -> None:
        """Raises KeyboardInterrupt where nobody would look at the wish, or at once is wished."""
        repeated, self.signal = self.signal is not None, self.signal or number
        if repeated or not self._trains:
            raise KeyboardInterrupt
        self._screen.say("show.stopping", "yellow")


@contextmanager
def stoppable(screen: Screen) -> Iterator[tuple[flow.Stop, Callable[[Event], None]]]:
    """The first Ctrl-C ends a training after the present update, with a checkpoint; the second ends it at once, and so
    does the first where no update is made. Either way the command ends with the code of an interrupted one: its work is
    not done, and a script that goes on only after 0 does not go on."""
    stopping = Stopping(screen)
    before = {number: signal.signal(number, stopping.hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping.stop, stopping.emit
    except TrainError as error:
        if error.code != "interrupted" or stopping.signal is None:
            raise
        screen.error(error)
        raise typer.Exit(BY_SIGNAL + stopping.signal) from error
    except KeyboardInterrupt as interrupt:
        screen.close()
        screen.say("show.stopped_at_once", "yellow")
        raise typer.Exit(BY_SIGNAL + (stopping.signal or signal.SIGINT)) from interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
