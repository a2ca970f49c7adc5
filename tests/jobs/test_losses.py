"""Curves with any number of points: few are read and drawn, and no spike is lost."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from postil.jobs.lease import Lease
from postil.jobs.losses import DRAWN, Losses, thinned
from postil.store import LOCAL
from tests.jobs.shop import Shop

PREPARED = {"needs": {"memory_mb": 900, "cpus": 1, "gpus": 0}, "plan": {"n_epochs": 3}, "examples": {}, "estimate": {}}


@given(st.lists(st.floats(0, 100), min_size=0, max_size=400), st.integers(4, 60))
def test_first_last_lowest_and_highest_stay(values: list[float], most: int) -> None:
    points = list(enumerate(values))
    kept = thinned(points, most)
    assert len(kept) <= max(most, 2)
    assert [step for step, _ in kept] == sorted({step for step, _ in kept})
    if values:
        assert kept[0] == [0, values[0]]
        assert kept[-1] == [len(values) - 1, values[-1]]
        assert min(value for _, value in kept) == min(values)
        assert max(value for _, value in kept) == max(values)


def test_a_hundred_thousand_points_become_as_many_as_are_drawn() -> None:
    points = [(i, 1.0 + (i == 54_321)) for i in range(100_000)]
    kept = thinned(points, DRAWN)
    assert len(kept) <= DRAWN
    assert [54_321, 2.0] in kept


def test_a_page_that_stays_open_keeps_a_bounded_part_of_a_long_run() -> None:
    losses = Losses()
    for step in range(60_000):
        losses.add(step, -1.0 if step == 100 else 2.0 + step % 7, 5.0 if step % 100 == 0 else None)
        assert len(losses.training) <= 2 * DRAWN
    numbers = losses.training
    assert (min(numbers.values()), numbers[100]) == (-1.0, -1.0)
    assert next(iter(numbers)) == 0 and 59_999 in numbers
    assert list(losses.validation) == list(range(0, 60_000, 100))


def test_a_long_run_is_read_as_few_points(shop: Shop) -> None:
    lease = Lease(shop.store, "server_a")
    lease.beat("host", "1/0")
    job = shop.order()
    checked = lease.claim(job.id)
    assert checked and lease.validated(checked, PREPARED)
    claimed, steps = lease.claim(job.id), 3 * DRAWN
    lines: list[dict[str, Any]] = [
        {"type": "metrics", "step": step, "total_steps": steps, "loss": 2.0 + (step == 7)}
        for step in range(1, steps + 1)
    ]
    for line in lines[99::100]:
        line["validation_loss"] = 1.0
    assert claimed and lease.heard(claimed, lines, steps)
    losses, last = shop.queue.losses(LOCAL, job.id)
    assert last == shop.get(job).events >= steps
    assert DRAWN <= len(losses.training) <= 2 * DRAWN
    assert losses.training[7] == 3.0 and steps in losses.training
    assert losses.validation == dict.fromkeys(range(100, steps + 1, 100), 1.0)
