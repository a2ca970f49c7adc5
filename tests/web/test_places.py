"""What a clock refreshes changes where it stands: nothing that can be pressed or typed into is built anew under it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nicegui import Client, core, ui
from nicegui.element import Element
from nicegui.page import page

from postil.api import House
from postil.jobs import Order, Queue
from postil.store import LOCAL, Store
from postil.store.tables import Job
from postil.web.data import Looking
from postil.web.desk import Desk
from postil.web.frame import AT
from postil.web.joblist import JobList
from postil.web.jobs import Live
from postil.web.models import Notes
from postil.web.place import Meter, Place
from postil.web.plan import Download
from postil.web.reach import opens_here_only
from postil.web.upload import Upload

PRESSED = (ui.button, ui.input, ui.textarea, ui.select)
MODEL = "ft:tiny:local::abcdefgh"


def nothing_asked(*_: Any) -> Any:
    raise AssertionError("nothing is asked of a command here")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "data")
    yield opened
    opened.close()


@contextmanager
def at(store: Store, lang: str = "en") -> Iterator[tuple[Client, Desk]]:
    """A page of somebody who reads `lang`, without a browser before it."""
    house = House(store, Queue(store), nothing_asked, nothing_asked, nothing_asked)
    desk = Desk(house, store.keys.of_pages(), lang, page="/")
    core.loop = asyncio.get_running_loop()
    client = Client(page("/x"))
    client.storage[AT] = desk
    try:
        with client:
            yield client, desk
    finally:
        core.loop = None


def pressed(client: Client) -> dict[int, str]:
    """Whatever can be pressed or typed into, by the number of its element."""
    return {one.id: type(one).__name__ for one in client.elements.values() if _pressed(one)}


def _pressed(one: Element) -> bool:
    return isinstance(one, PRESSED) or one.tag in ("a", "button", "input")


def words(client: Client) -> str:
    """All that is written on the page."""
    found = []
    for one in client.elements.values():
        found += [str(one.props.get("label") or ""), str(getattr(one, "text", "") or "")]
    return " ".join(found)


def bars(client: Client) -> dict[int, str]:
    """How far each bar is, by the number of its element."""
    return {one.id: one.props["aria-valuenow"] for one in client.elements.values() if "aria-valuenow" in one.props}


def run(act: Callable[[], Any]) -> None:
    asyncio.run(act())


# ── the parts ──


def test_a_place_is_filled_anew_only_for_another_state(store: Store) -> None:
    async def act() -> None:
        with at(store) as (client, _):
            place = Place()
            assert place.show([1], lambda: ui.button("a"))
            before = pressed(client)
            assert not place.show([1], lambda: ui.button("a")) and pressed(client) == before
            assert place.show([2], lambda: ui.button("b")) and pressed(client) != before
            place.empty()
            assert not pressed(client) and place.show([2], lambda: ui.button("b"))

    run(act)


def test_a_meter_moves_where_it_stands(store: Store) -> None:
    async def act() -> None:
        with at(store) as (client, _):
            meter, before = Meter(0, "upload"), set(client.elements)
            for percent in (-5, 41.7, 250):
                meter.at(percent)
            assert set(client.elements) | before == set(client.elements)
            assert list(bars(client).values()) == ["100"]

    run(act)


# ── each that is refreshed by a clock ──


def test_the_button_that_stops_an_upload_stays_while_it_is_sent(store: Store) -> None:
    async def act() -> None:
        with at(store) as (client, desk):
            upload = Upload(desk, nothing_asked, act="dataset.create")
            seen = []
            for percent in range(0, 100, 10):
                await upload._heard(SimpleNamespace(args={"state": "sending", "percent": percent}))
                seen.append(pressed(client))
            assert all(one == seen[0] for one in seen) and len(seen[0]) == 2  # the way in, and Stop
            assert "90 %" in words(client)
            await upload._heard(SimpleNamespace(args={"state": "stopped"}))
            assert "90 %" not in words(client) and "stopped" in words(client)

    run(act)


def ordered(store: Store, kind: str = "training", **told: Any) -> str:
    with store.files.incoming() as made:
        made.write(b"q,a\n1,2\n")
        file = store.files.keep(LOCAL, "titles.csv", "fine-tune", made)
    queue = Queue(store)
    base = "smollm2-135m-instruct" if kind in ("training", "base") else MODEL
    job = queue.create(LOCAL, Order(kind, base, None if kind in ("base", "export") else file.id, **told))  # type: ignore[arg-type]
    return job.id


def set_to(store: Store, job_id: str, **values: Any) -> None:
    with store.database.write() as session:
        session.query(Job).filter_by(id=job_id).update(values)


def test_the_buttons_of_a_running_job_stay_while_its_figures_move(store: Store) -> None:
    async def act() -> None:
        job = ordered(store)
        set_to(store, job, status="running", claimed=True)
        with at(store) as (client, desk):
            live = Live(desk, desk.house.queue.get(LOCAL, job), "titles.csv", "")
            live.build()
            await live.look(fresh=True)
            seen = []
            for step in range(1, 6):
                set_to(store, job, progress={"percent": 20.0 + step, "step": step, "total_steps": 9, "stage": "train"})
                await live.look(fresh=True)
                seen.append(pressed(client))
                assert f"{step} / 9" in words(client)
            assert all(one == seen[0] for one in seen) and len(seen[0]) >= 2
            set_to(store, job, status="succeeded", claimed=False, progress={"percent": 97.0})
            await live.look(fresh=True)
            assert "Delete this job" in words(client)
            assert set(bars(client).values()) == {"100"}

    run(act)


def test_a_list_of_jobs_follows_them_and_keeps_its_links(store: Store) -> None:
    async def act() -> None:
        first = ordered(store)
        with at(store) as (client, desk):
            jobs = JobList(desk)
            await jobs.build()
            before = pressed(client)
            assert "checking data" in words(client)
            set_to(store, first, status="running", progress={"percent": 42.0})
            await jobs.look()
            assert pressed(client) == before and "42 %" in words(client) and "running" in words(client)
            set_to(store, first, status="succeeded", progress={"percent": 97.0})
            await jobs.look()
            assert pressed(client) == before and "100 %" in words(client) and "done" in words(client)
            ordered(store, "base")
            await jobs.look()
            assert len(pressed(client)) == len(before) + 1 and "smollm2-135m-instruct" in words(client)

    run(act)


def test_a_download_that_runs_moves_and_one_that_failed_is_told_in_the_readers_language(store: Store) -> None:
    async def act() -> None:
        job = ordered(store, "base")
        with at(store, "zh") as (client, desk):
            base = next(one for one in known_bases(desk) if one.name == "smollm2-135m-instruct")
            download = Download(desk, base, nothing_asked)
            await download.look()
            seen = bars(client).keys()
            for percent in (10.0, 20.0):
                set_to(store, job, status="running", progress={"percent": percent, "what": "Downloading wheels"})
                await download.look()
                assert f"{percent:.0f} %" in words(client) and "Downloading" not in words(client)
            assert seen == bars(client).keys() and len(seen) == 1
            error = {"code": "x", "postil": "worker_lost", "message": "English", "values": {"times": 5, "reason": "?"}}
            set_to(store, job, status="failed", error=error)
            await download.look()
            assert "English" not in words(client) and "[worker_lost]" in words(client)

    run(act)


def known_bases(desk: Desk) -> Any:
    from postil.plan import known

    return known(desk.house.settings.home)


# ── two at one thing ──


def test_what_the_second_one_put_right_stays_and_goes_on_top(store: Store) -> None:
    async def act() -> None:
        with store.files.incoming() as made:
            made.write(b"q,a\n1,2\n3,4\n")
            file = store.files.keep(LOCAL, "a.csv", "fine-tune", made).id
        first = store.datasets.create(LOCAL, "a", file, {})
        with at(store) as (client, desk):
            hers = Looking(desk, first)
            hers.build()
            hers._checking = True
            theirs = store.datasets.revise(LOCAL, first.id, reading={"edits": {"B2": "theirs"}, "without": [3]})
            await hers.see_newer()
            assert "version 2" in words(client).lower()
            await hers._change({"edits": {"B2": "hers", "B3": "hers too"}})
            assert store.datasets.newest(LOCAL, first.id).id == theirs.id
            assert "not saved yet" in words(client) and "B2" in words(client)
            assert hers._reading["edits"]["B3"] == "hers too"
            before = pressed(client)
            await hers.see_newer()
            assert pressed(client) == before, "the ways on stay while the page looks again"
            newest, merged = (
                store.datasets.newest(LOCAL, first.id),
                {"edits": {"B2": "hers", "B3": "hers too"}, "without": [3]},
            )
            await hers._put_on_top(newest, merged)
            assert store.datasets.newest(LOCAL, first.id).reading == merged
            assert "not saved yet" not in words(client)

    run(act)


def test_a_note_of_two_loses_neither(store: Store) -> None:
    from postil.store.models import add as add_model

    async def act() -> None:
        with store.database.write() as session:
            add_model(session, project=LOCAL, name=MODEL, base="t", base_sha256="0", adapter_sha256="1", directory="x")
        with at(store) as (client, desk):
            notes = Notes(desk, MODEL, None)
            await notes.build()
            store.models.set_note(LOCAL, MODEL, "theirs", "key_2")
            notes._written.value = "mine"
            async with desk.acting("note.write"):
                await notes._keep()
            assert store.models.note(LOCAL, MODEL).text == "theirs"  # type: ignore[union-attr]
            assert notes._written.value == "mine" and "theirs" in words(client)

    run(act)


# ── addresses ──


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8000/studio/rate/x", True),
        ("http://localhost/studio", True),
        ("http://[::1]:8/x", True),
        ("http://127.8.8.8/x", True),
        ("http://192.168.1.20:8000/x", False),
        ("https://postil.example.com/x", False),
        ("http://[fe80::1]/x", False),
        ("http://127.0.0.1.example.com/x", False),
    ],
)
def test_an_address_that_opens_here_only_is_known(url: str, here: bool) -> None:
    assert opens_here_only(url) == here
