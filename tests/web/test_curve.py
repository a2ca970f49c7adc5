"""Curves with any number of points: few are drawn, and no spike is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postil.web.curve import MOST, thinned, trim


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
    kept = thinned(points, 1200)
    assert len(kept) <= 1200
    assert [54_321, 2.0] in kept


def test_a_page_that_stays_open_keeps_a_bounded_part_of_a_long_run() -> None:
    numbers: dict[int, float] = {}
    for step in range(60_000):
        numbers[step] = -1.0 if step == 100 else 2.0 + step % 7
        if step % 500 == 0:
            numbers = trim(numbers)
    assert len(numbers) <= 8 * MOST + 500
    assert (min(numbers.values()), numbers[100]) == (-1.0, -1.0)
    assert next(iter(numbers)) == 0 and 59_999 in numbers
