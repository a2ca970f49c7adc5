"""Threads are measured again when others have come or gone, on updates that count; what is no better is taken back."""

from __future__ import annotations

import pytest

from postil.train.crew import LOOK_SECONDS, Crew


class Machine:
    """Others that use `busy` cores, and a clock."""

    def __init__(self, busy: float) -> None:
        self.busy, self.now = busy, 0.0

    def cores(self) -> float:
        return self.busy

    def clock(self) -> float:
        return self.now


def go(crew: Crew, machine: Machine, speed: dict[int, float], updates: int) -> list[int]:
    """The number of threads in each update, where 100 tokens take `speed[threads]` seconds."""
    used = []
    for _ in range(updates):
        used.append(crew.threads)
        seconds = speed[crew.threads]
        machine.now += seconds
        threads = crew.hear(100, seconds)
        if threads is not None:
            crew.turn_to(threads)
    return used


def test_a_run_that_is_alone_tries_all_cores_and_stays_with_them_where_they_are_faster() -> None:
    machine = Machine(0.0)
    crew = Crew(1, 2, machine, machine.clock)
    used = go(crew, machine, {1: 6.0, 2: 4.0}, 40)
    assert set(used[:5]) == {1} and set(used[9:]) == {2} and not crew.is_trying()


@pytest.mark.parametrize("second", [6.0, 5.8, 9.0])
def test_what_is_no_better_is_taken_back_and_not_tried_again(second: float) -> None:
    machine = Machine(0.0)
    used = go(Crew(1, 2, machine, machine.clock), machine, {1: 6.0, 2: second}, 60)
    assert used.count(2) == 3 and used[-1] == 1


def test_in_a_crowd_one_thread_stays_until_the_others_have_gone() -> None:
    machine = Machine(2.0)
    crew = Crew(1, 2, machine, machine.clock)
    assert set(go(crew, machine, {1: 6.0, 2: 4.0}, 20)) == {1}
    machine.busy = 0.0
    assert go(crew, machine, {1: 6.0, 2: 4.0}, 20)[-1] == 2


def test_when_others_come_fewer_are_tried_and_more_again_when_they_have_gone() -> None:
    machine = Machine(0.0)
    crew = Crew(2, 2, machine, machine.clock)
    assert set(go(crew, machine, {1: 6.0, 2: 4.0}, 20)) == {2}
    machine.busy = 1.6
    assert go(crew, machine, {1: 6.0, 2: 14.0}, 20)[-1] == 1
    machine.busy = 0.1
    assert go(crew, machine, {1: 6.0, 2: 4.0}, 20)[-1] == 2


def test_a_little_company_changes_nothing() -> None:
    machine = Machine(0.5)
    assert set(go(Crew(1, 2, machine, machine.clock), machine, {1: 6.0, 2: 4.0}, 40)) == {1}


def test_nothing_is_tried_before_it_is_time_to_look() -> None:
    machine = Machine(0.0)
    used = go(Crew(1, 2, machine, machine.clock), machine, {1: 4.0, 2: 1.0}, int(LOOK_SECONDS / 4.0))
    assert set(used) == {1}
