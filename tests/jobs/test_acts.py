"""Cancel, pause, resume and keep in every state, repeated, and by two callers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations_with_replacement
from typing import Any

import pytest

from postil.errors import JobError
from postil.store import LOCAL, TERMINAL
from tests.jobs.shop import Shop
from tests.jobs.test_queue import EXPECTED, put, refused

# what a row may hold, by a name: where no worker is at it, where one is, and where it waits for something else
ROWS: dict[str, dict[str, object]] = {
    "new": {"status": "validating_files"},
    "looked at": {"status": "validating_files", "claimed": True, "attempt": 1},
    "new, no room": {"status": "validating_files", "hold": "storage_full"},
    "queued": {"status": "queued"}, "queued again": {"status": "queued", "last_checkpoint": 5},
    "no room": {"status": "queued", "hold": "storage_full"},
    "running": {"status": "running", "claimed": True, "attempt": 2},
    "running, to pause": {"status": "running", "claimed": True, "attempt": 2, "wish": "pause"},
    "running, to keep": {"status": "running", "claimed": True, "attempt": 2, "wish": "keep"},
    "paused": {"status": "paused", "last_checkpoint": 5}, "paused at once": {"status": "paused", "resolved": {}},
    "cancelled": {"status": "cancelled"}, "succeeded": {"status": "succeeded"}, "failed": {"status": "failed"},
}  # fmt: skip
PAIRS = list(combinations_with_replacement(EXPECTED, 2))


def after(shop: Shop, file: str, row: str, calls: Callable[[list[Callable[[], str]]], list[str]],
          actions: Sequence[str]) -> tuple[Any, ...]:  # fmt: skip
    """A job in that state on which these actions were called: what they answered, and what it is then."""
    job = shop.order(training_file=file)
    values = {"resolved": {} if "new" in row or row == "looked at" else {"n_epochs": 1}, **ROWS[row]}
    put(shop, job, **values)

    def call(action: str) -> str:
        try:
            return str(getattr(shop.queue, action)(LOCAL, job.id).id == job.id)
        except JobError as error:
            return error.code

    answers = calls([partial(call, action) for action in actions])
    now = shop.get(job)
    events = [one.code for one in shop.queue.events_since(LOCAL, job.id, 0)[1] if one.code]
    return dict(zip(actions, answers, strict=True)), now.status, now.wish, now.hold, now.claimed, events


def in_turn(calls: list[Callable[[], str]]) -> list[str]:
    return [call() for call in calls]


def at_once(calls: list[Callable[[], str]]) -> list[str]:
    ready = threading.Barrier(len(calls))

    def call(each: Callable[[], str]) -> str:
        ready.wait()
        return each()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


@pytest.mark.parametrize("row", ROWS)
def test_two_callers_at_once_do_what_they_would_do_in_turn(shop: Shop, row: str) -> None:
    """In every state, whatever both want; and who calls twice does it once."""
    file = shop.file()
    for pair in PAIRS:
        turns = [after(shop, file, row, in_turn, actions) for actions in (pair, pair[::-1])]
        assert after(shop, file, row, at_once, pair) in turns, pair
        if pair[0] == pair[1]:
            assert turns[0][1:] == after(shop, file, row, in_turn, pair[:1])[1:], "twice is once"


@pytest.mark.parametrize("row", ROWS)
def test_a_pause_is_possible_as_long_as_a_job_has_not_ended_and_is_taken_back_by_resume(
    sqlite_shop: Shop, row: str
) -> None:
    job = sqlite_shop.order()
    put(sqlite_shop, job, **{"resolved": {"n_epochs": 1}, **ROWS[row]})
    before = sqlite_shop.get(job)
    if before.status in TERMINAL:
        assert refused(sqlite_shop.queue.pause, LOCAL, job.id) == "job_not_pausable"
        assert refused(sqlite_shop.queue.resume, LOCAL, job.id) == "job_not_resumable"
        return
    stopped = sqlite_shop.queue.pause(LOCAL, job.id)
    assert stopped.status == "paused" or stopped.wish in ("pause", "keep")
    again = sqlite_shop.queue.resume(LOCAL, job.id)
    assert again.wish != "pause" and again.status != "paused"
    assert again.claimed == before.claimed
