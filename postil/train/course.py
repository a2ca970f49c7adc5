"""What a run has decided on its way because of the machine: to end sooner, or to compute with other threads.

Each turn stands in course.json, by the update after which it holds, before the run acts on it. A run that is killed
and resumed takes the same turns at the same updates, and so ends in the same bytes, whatever the clock says then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from postil.errors import TrainError
from postil.store import read_json, write_json

COURSE = "course.json"


@dataclass(frozen=True, slots=True)
class Turn:
    """After update `step`: the run ends after `updates` in all, or computes with `threads`; 0: as before."""

    step: int
    updates: int = 0
    threads: int = 0


class Course:
    """The turns of one run, in the order of their updates."""

    def __init__(self, directory: Path, *, writes: bool = True) -> None:
        """Raises TrainError `data_changed` when course.json is there and not what a run has written."""
        self._file, self._writes = directory / COURSE, writes
        self.turns = _read(self._file)

    @property
    def cuts(self) -> tuple[tuple[int, int], ...]:
        """(after which update, updates in all), of each turn to end sooner."""
        return tuple((turn.step, turn.updates) for turn in self.turns if turn.updates)

    def until(self, step: int) -> list[Turn]:
        """The turns that hold after update `step`."""
        return [turn for turn in self.turns if turn.step <= step]

    def at(self, step: int) -> list[Turn]:
        return [turn for turn in self.turns if turn.step == step]

    def is_settled(self, step: int) -> bool:
        """Whether all that there is to decide after update `step` has been decided by an earlier attempt."""
        return bool(self.turns) and step <= self.turns[-1].step

    def take(self, turn: Turn) -> None:
        """Write a turn down, after which the run may act on it."""
        self.turns = [*self.turns, turn]
        if self._writes:
            write_json(self._file, {"turns": [asdict(turn) for turn in self.turns]})


def read_cuts(directory: Path) -> Sequence[tuple[int, int]]:
    """The turns to end sooner of the run in `directory`, see `Course.cuts`."""
    return Course(directory, writes=False).cuts


def _read(file: Path) -> list[Turn]:
    if not file.exists():
        return []
    try:
        content: dict[str, Any] = read_json(file)
        turns = [Turn(**{name: int(number) for name, number in turn.items()}) for turn in content["turns"]]
    except (ValueError, LookupError, TypeError, AttributeError) as damaged:
        raise TrainError("data_changed", path=str(file)) from damaged
    return sorted(turns, key=lambda turn: turn.step)
