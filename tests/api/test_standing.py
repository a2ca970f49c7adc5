"""A watch whose looks fail by a fault of ours: one ends nothing, many in a row close the door."""

from __future__ import annotations

import asyncio

import pytest

from postil.api import standing


@pytest.mark.parametrize(("faults", "done"), [(1, True), (standing.MOST_FAULTS - 1, True), (10**9, False)])
def test_faults_of_a_look(faults, done, monkeypatch):
    monkeypatch.setattr(standing, "LOOK_SECONDS", 0.001)
    looks = 0

    async def holds() -> bool:
        nonlocal looks
        looks += 1
        if looks <= faults:
            raise RuntimeError("a fault")
        return True

    async def serve() -> None:
        while looks <= faults + 3:
            await asyncio.sleep(0.001)

    assert asyncio.run(asyncio.wait_for(standing.while_holds(holds, serve()), 20)) is done
