"""Whose turn it is: in order, who fits now. What can never fit here holds up nobody; what could, not for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from postil.jobs.executor import Executor, Slot
from postil.jobs.lease import VALIDATING, Lease, Turn

MOST_VALIDATING = 2  # at once
PASSED_OVER = 10  # so often others may go before a job that does not fit yet
PAGE = 100  # turns that are read at once
MOST_WARNED = 50  # at one look: thousands of warnings would keep the loop from everything else
Needs = Mapping[str, Any]


class Turns:
    """The queue's turns on one executor.

    begin: starts a job with these needs, and says whether it did. validating: how many look at data now. make_room:
    gives memory back that others hold here without need, and says whether there was any.
    """

    def __init__(self, lease: Lease, executor: Executor, begin: Callable[[str, Needs], bool],
                 validating: Callable[[], int], make_room: Callable[[], bool]) -> None:  # fmt: skip
        self._lease, self._executor = lease, executor
        self._begin, self._validating, self._make_room = begin, validating, make_room
        self._passed: dict[str, int] = {}  # by job: how often others went before it
        self._warned: set[str] = set()
        self._may_warn = 0

    def give(self, *, deep: bool) -> None:
        """Start who fits, in order. `deep`: look at all that wait, and not at those at the front alone."""
        slots: Sequence[Slot] = ()
        ahead: list[str] = []  # who could be held here, but does not fit now
        seen, self._may_warn = set[str](), MOST_WARNED
        for turn in self._line(deep):
            seen.add(turn.id)
            slots = slots or self._executor.capacity()
            validates = turn.status == "validating_files"
            if validates and self._validating() >= MOST_VALIDATING:
                continue
            needs = VALIDATING if validates else {**VALIDATING, **turn.needs}
            slots = self._with_room(slots, needs)
            if any(slot.fits(**needs) for slot in slots):
                if needs["gpus"] or (validates and any(slot.total_gpus for slot in slots)):
                    self._make_room()  # a card's memory is in no slot: it is to be as free as it can be
                if self._begin(turn.id, needs):
                    self._passed.pop(turn.id, None)
                    self._passed.update({job_id: self._passed.get(job_id, 0) + 1 for job_id in ahead})
                slots = self._executor.capacity()
            elif not self._is_impossible(turn, needs, slots):
                if self._passed.get(turn.id, 0) >= PASSED_OVER:
                    return
                ahead.append(turn.id)
        if deep:
            self._warned &= seen  # who waits no more is forgotten
            self._passed = {job_id: times for job_id, times in self._passed.items() if job_id in seen}

    def _line(self, deep: bool) -> Iterator[Turn]:
        """Who waits, in order, page by page."""
        last: Turn | None = None
        while page := self._lease.waiting(PAGE, after=last):
            yield from page
            last = page[-1]
            if len(page) < PAGE or not deep:
                return

    def _is_impossible(self, turn: Turn, needs: Needs, slots: Sequence[Slot]) -> bool:
        """Whether it can never fit here; then the job says so, once."""
        total = max((slot.total_memory_mb for slot in slots), default=0)
        if needs["memory_mb"] > total:
            self._warn(turn.id, "too_large_here", needed=needs["memory_mb"], total=total)
            return True
        if needs["gpus"] > max((slot.total_gpus for slot in slots), default=0):
            self._warn(turn.id, "no_gpu_here")
            return True
        return False

    def _warn(self, job_id: str, code: str, **values: Any) -> None:
        if job_id not in self._warned and self._may_warn:
            self._lease.warn(job_id, code, **values)
            self._warned.add(job_id)
            self._may_warn -= 1

    def _with_room(self, slots: Sequence[Slot], needs: Needs) -> Sequence[Slot]:
        """The slots, with more memory if that is all that is missing and others can give it back."""
        free = max((slot.memory_mb for slot in slots), default=0)
        if needs["memory_mb"] <= free or not any(replace(s, memory_mb=s.total_memory_mb).fits(**needs) for s in slots):
            return slots
        return self._executor.capacity() if self._make_room() else slots
