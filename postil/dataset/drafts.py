"""Dialogues on their way to examples, and the ledger that says what became of each record of the file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from postil.records import Issue, Left, Repair, Role, Severity

NOTHING: Mapping[str, Any] = {}
LONGEST_SHOWN = 2000  # characters of a before/after text


@dataclass(slots=True)
class Turn:
    """One message of a draft. `at`: the records that it came from, as indexes into the ledger's `numbers`."""

    role: Role
    content: str
    at: tuple[int, ...]
    cell: str | None = None
    weight: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Draft:
    """A dialogue as it stands in the file. `at`: all records that it was made of.

    rejected: the unwanted answer beside the last one. reads: it is a text that nobody asks for.
    """

    turns: list[Turn]
    at: tuple[int, ...]
    group: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    rejected: Turn | None = None
    reads: bool = False

    def say(self, role: Role, content: str, at: int | tuple[int, ...], cell: str | None = None) -> None:
        """Append a message."""
        self.turns.append(Turn(role, content, (at,) if isinstance(at, int) else at, cell))


class Ledger:
    """Which record was dropped, which is no data, and all issues and repairs, in terms of the user's row numbers.

    `numbers` gives each record's row number; several records may share one (JSON objects glued on a line).
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = numbers
        self.issues: list[Issue] = []
        self.repaired: list[Repair] = []
        self._dropped: dict[int, Left] = {}
        self._not_data: dict[int, Left] = {}

    def issue(
        self, code: str, severity: Severity, at: int | None = None, cell: str | None = None, **values: Any
    ) -> None:
        self.issues.append(Issue(code, severity, self._number(at), cell, values))

    def repair(
        self, code: str, at: int | None, before: str, after: str, cell: str | None = None, **values: Any
    ) -> None:
        self.repaired.append(Repair(code, self._number(at), shown(before), shown(after), cell, values))

    def drop(self, at: int, code: str, cell: str | None = None, severity: Severity = "error", **values: Any) -> None:
        """This record cannot be used: listed, with an issue that points at it."""
        if at in self._dropped or at in self._not_data:
            return
        self._dropped[at] = Left(self.numbers[at], code, values)
        self.issue(code, severity, at, cell, **values)

    def leave_out(self, rows: Collection[int]) -> frozenset[int]:
        """The records of the rows that a person leaves out are dropped without an issue. Returns the records."""
        gone = frozenset(at for at, number in enumerate(self.numbers) if number in rows) if rows else frozenset()
        self._dropped.update({at: Left(self.numbers[at], "left_out_by_user") for at in gone})
        return gone

    def skip(self, at: int, code: str, **values: Any) -> None:
        """This record is no data: a blank row, a title, a heading."""
        if at not in self._dropped:
            self._not_data[at] = Left(self.numbers[at], code, values)

    def known(self, at: int) -> bool:
        return at in self._dropped or at in self._not_data

    def close(self, used: Iterable[int]) -> tuple[tuple[Left, ...], tuple[Left, ...]]:
        """Dropped and not-data records. Each record that is in none of the three gets a reason of its own."""
        taken = set(used)
        for at in range(len(self.numbers)):
            if at not in taken and not self.known(at):
                self.drop(at, "not_understood")
        return (
            tuple(self._dropped[at] for at in sorted(self._dropped) if at not in taken),
            tuple(self._not_data[at] for at in sorted(self._not_data) if at not in taken),
        )

    def _number(self, at: int | None) -> int | None:
        return None if at is None else self.numbers[at]


def shown(text: str) -> str:
    """`text` as it is listed in a repair: whole, unless it is very long."""
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def blank(text: str) -> bool:
    """Whether nothing can be seen of `text`."""
    return not text or not text.strip(" \t\r\n\v\f\u3000\xa0\u200b\ufeff\u2060\u200c\u200d\u200e\u200f")
