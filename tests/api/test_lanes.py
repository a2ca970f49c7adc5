"""Places for work: nobody takes all of them, projects take turns, and a line that is full says so at once."""

from __future__ import annotations

import ast
import asyncio
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import postil
from postil.api.lanes import LANES, Lane, Lanes, Line, Ticket, holder
from postil.api.refusals import Refused


def asked(line: Line, *holders: str) -> list[Ticket]:
    tickets = [line.ask(one) for one in holders]
    assert None not in tickets
    return [one for one in tickets if one]


def served(tickets: list[Ticket]) -> list[bool]:
    return [one.turn.done() for one in tickets]


def test_attack_30_one_project_never_has_every_place() -> None:
    line = Line(Lane(4, 3, 100, 60))
    greedy = asked(line, *["a"] * 50)
    assert sum(served(greedy)) == 3
    assert served(asked(line, "b")) == [True]


def test_attack_30_projects_take_turns_however_many_of_one_wait() -> None:
    line = Line(Lane(1, 1, 100, 60))
    first, *waiting = asked(line, "a", "a", "a", "a", "b", "b", "c")
    order, running = [], first
    while True:
        line.leave(running)
        ready = [one for one in waiting if one.turn.done()]
        if not ready:
            break
        (running,) = ready
        waiting.remove(running)
        order.append(running.holder)
    assert order == ["a", "b", "c", "a", "b", "a"]


def test_attack_30_a_line_that_is_full_is_refused_and_holds_nobody_else() -> None:
    line = Line(Lane(1, 1, 2, 60))
    asked(line, "a", "a", "a")
    assert line.ask("a") is None
    (other,) = asked(line, "b")
    assert not other.turn.done()


def test_somebody_who_waits_no_longer_takes_no_place() -> None:
    line = Line(Lane(1, 1, 5, 60))
    first, gone, last = asked(line, "a", "a", "b")
    line.leave(gone)
    line.leave(first)
    assert served([gone, last]) == [False, True]


def test_small_work_does_not_overtake_large_work_for_ever() -> None:
    line = Line(Lane(4, 4, 5, 60))
    small = asked(line, "a", "a", "a")
    large = line.ask("b", 3)
    assert large and not large.turn.done()
    assert served(asked(line, "c")) == [False]
    for ticket in small:
        line.leave(ticket)
    assert large.turn.done()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5), st.integers(0, 3)), max_size=80))
def test_whatever_comes_and_goes_the_bounds_hold_and_nobody_is_forgotten(steps: list[tuple[str, int, int]]) -> None:
    bounds = Lane(7, 4, 6, 60)
    line, open_tickets = Line(bounds), list[Ticket]()
    for who, weight, leaves in steps:
        if (ticket := line.ask(who, weight)) is not None:
            open_tickets.append(ticket)
        for _ in range(min(leaves, len(open_tickets))):
            line.leave(open_tickets.pop(0))
        holding = Counter[str]()
        for ticket in open_tickets:
            holding[ticket.holder] += ticket.weight * ticket.turn.done()
        assert holding.total() <= bounds.places
        assert max(holding.values(), default=0) <= bounds.each
    while open_tickets:
        running = [one for one in open_tickets if one.turn.done()]
        assert running, "everybody waits, and nobody works"
        line.leave(running[0])
        open_tickets.remove(running[0])
    assert served(asked(line, *"aaaa")) == [True] * 4


def test_whoever_waits_too_long_is_refused_and_its_place_is_free() -> None:
    lanes = Lanes({"reads": Lane(1, 1, 5, 0.0)})

    async def crowd() -> None:
        async with lanes.place("reads", "a"):
            with pytest.raises(Refused) as refusal:
                async with lanes.place("reads", "b"):
                    raise AssertionError("there was a place")
        assert refusal.value.status == 429 and refusal.value.headers["retry-after"]
        assert "{" not in str(refusal.value.error)
        async with lanes.place("reads", "b"):
            pass

    asyncio.run(crowd())
    with lanes.place_here("reads", "a"), pytest.raises(Refused), lanes.place_here("reads", "b"):
        raise AssertionError("there was a place")


def test_work_knows_whose_it_is_and_leaves_its_place_when_it_is_given_up() -> None:
    lanes = Lanes({"reads": Lane(1, 1, 5, 60)})
    go_on = threading.Event()

    async def crowd() -> None:
        assert await lanes.run("reads", "project", holder) == "project"
        assert holder() == ""
        busy = asyncio.create_task(lanes.run("reads", "a", go_on.wait))
        waits = asyncio.create_task(lanes.run("reads", "b", holder))
        await asyncio.sleep(0)
        waits.cancel()
        go_on.set()
        assert await busy
        assert await lanes.run("reads", "c", holder) == "c"

    asyncio.run(crowd())


def test_attack_30_every_lane_leaves_a_place_for_others() -> None:
    for name, bounds in LANES.items():
        assert bounds.each < bounds.places or name == "keys", name  # a key is looked up in a moment


def test_attack_30_no_other_way_leads_to_a_thread() -> None:
    """Whoever used the framework's one pool would stand in its one line with everybody."""
    root = Path(postil.__file__).parent
    for path in (path for room in ("api", "web") for path in sorted((root / room).rglob("*.py"))):
        if path.name in ("lanes.py", "ready.py"):  # the latter has a thread of its own: it answers when all is full
            continue
        used = {node.attr if isinstance(node, ast.Attribute) else node.name
                for node in ast.walk(ast.parse(path.read_text("utf-8")))
                if isinstance(node, ast.Attribute | ast.alias)}  # fmt: skip
        assert not used & {"run_in_threadpool", "run_in_executor", "to_thread", "run_sync", "io_bound"}, path
