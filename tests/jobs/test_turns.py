"""Whose turn it is, where much waits: nobody stops the queue for the others, and nobody waits for ever."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from postil.errors import StoreError
from postil.jobs import InMemoryExecutor, Pace, Watch
from postil.jobs import watch as room
from postil.jobs.turns import PAGE, PASSED_OVER
from postil.store import LOCAL
from postil.store.tables import Job
from tests.jobs.puppet import Puppet
from tests.jobs.shop import Shop

CALM = Pace(tick=0.01, silence=3600.0, grace=0.1, sweep=0.0)


def waits(shop: Shop, count: int, file: str, **needs: float) -> list[Job]:
    """Orders that have been looked at and wait for their turn."""
    jobs = [shop.order(training_file=file) for _ in range(count)]
    with shop.store.database.write() as session:
        for row in session.query(Job).filter(Job.id.in_([job.id for job in jobs])):
            row.status, row.needs = "queued", {"memory_mb": 300, "cpus": 1, "gpus": 0, **needs}
    return jobs


def finish(shop: Shop, executor: InMemoryExecutor, job: Job) -> None:
    Puppet(executor, f"{job.id}:{shop.get(job).attempt}").succeed()


@pytest.mark.parametrize("needs", [{"memory_mb": 50_000}, {"gpus": 1}])
@pytest.mark.parametrize("count", [50, PAGE + 5])
def test_orders_that_can_never_fit_stop_nobody(sqlite_shop: Shop, count: int, needs: dict[str, float]) -> None:
    shop, executor = sqlite_shop, InMemoryExecutor(cpus=2.0)
    file = shop.file()
    waits(shop, count, file, **needs)
    (small,) = waits(shop, 1, file)
    watch = shop.watch(executor, CALM)
    watch.tick()
    assert shop.get(small).status == "running" and len(executor.launched) == 1


def test_orders_that_do_not_fit_now_stop_nobody_who_does(sqlite_shop: Shop) -> None:
    """And are passed over for so long as somebody goes before them, not for so long as they wait."""
    shop, executor = sqlite_shop, InMemoryExecutor(cpus=8.0, memory_mb=4000)
    file = shop.file()
    (first,) = waits(shop, 1, file, memory_mb=2000)
    watch = shop.watch(executor, CALM)
    watch.tick()
    large = waits(shop, 60, file, memory_mb=3900)
    for _ in range(3 * PASSED_OVER):
        watch.tick()
    (small,) = waits(shop, 1, file)
    watch.tick()
    assert shop.get(small).status == "running"
    assert {shop.get(job).status for job in large} == {"queued"}
    finish(shop, executor, first)
    finish(shop, executor, small)
    watch.tick()
    assert [shop.get(job).status for job in large[:2]] == ["running", "queued"]


def test_a_large_one_is_passed_over_a_few_times_at_most(sqlite_shop: Shop) -> None:
    shop, executor = sqlite_shop, InMemoryExecutor(cpus=1.0, memory_mb=4000)
    file = shop.file()
    watch = shop.watch(executor, CALM)
    running = waits(shop, 1, file)[0]
    watch.tick()
    (large,) = waits(shop, 1, file, cpus=2)
    small = waits(shop, 2 * PASSED_OVER, file)
    before = 0
    while shop.get(large).status == "queued":
        executor._cpus = 2.0  # there is a core for a small one beside it, and never two at once
        watch.tick()
        executor._cpus = 1.0
        finish(shop, executor, running)
        running = next(job for job in small if shop.get(job).status in ("queued", "running"))
        before = sum(shop.get(job).status != "queued" for job in small)
        watch.tick()
        assert before <= PASSED_OVER + 1
    assert before >= PASSED_OVER - 1


def test_what_can_never_fit_is_told_once_and_costs_no_more_then(sqlite_shop: Shop) -> None:
    shop = sqlite_shop
    jobs = waits(shop, 20, shop.file(), memory_mb=50_000)
    watch = shop.watch(InMemoryExecutor(), CALM)
    watch.tick()
    written: list[str] = []
    event.listen(shop.store.database.writer, "before_cursor_execute", lambda *call: written.append(call[2]))
    for _ in range(5):
        watch.tick()
    assert written and not [words for words in written if "job_events" in words]
    assert all(sum("50000 MB" in line for line in shop.messages(job)) == 1 for job in jobs)


def test_a_job_that_is_deleted_while_its_turn_is_considered_does_no_harm(
    sqlite_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, executor = sqlite_shop, InMemoryExecutor(cpus=8.0)
    file = shop.file()
    (gone,) = waits(shop, 1, file, memory_mb=50_000)
    (small,) = waits(shop, 1, file)
    watch = shop.watch(executor, CALM)
    waiting = watch.lease.waiting

    def then_deleted(*arguments: Any, **named: Any) -> Any:
        turns = waiting(*arguments, **named)
        if any(turn.id == gone.id for turn in turns):
            shop.queue.cancel(LOCAL, gone.id)
            shop.queue.delete(LOCAL, gone.id)
        return turns

    monkeypatch.setattr(watch.lease, "waiting", then_deleted)
    for _ in range(3):
        watch._guarded(watch.tick)
    assert shop.get(small).status == "running"


def test_a_job_that_cannot_be_begun_for_a_fault_of_ours_stops_nobody(sqlite_shop: Shop) -> None:
    shop, executor = sqlite_shop, InMemoryExecutor(cpus=8.0)
    file = shop.file()
    odd, good = waits(shop, 2, file)
    with shop.store.database.write() as session:
        row = session.query(Job).filter_by(id=odd.id).one()
        row.order = {"base": "x"}  # and no word of an adapter
    watch = shop.watch(executor, CALM)
    for _ in range(8):
        watch.tick()
    assert shop.get(good).status == "running"
    error = shop.get(odd).error
    assert shop.get(odd).status == "failed" and error is not None and "KeyError" in error["message"]


# ── room on the disk ──


def test_an_order_where_the_disk_has_little_room_is_told_why_it_waits(
    sqlite_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, executor = sqlite_shop, InMemoryExecutor(cpus=8.0)
    free = [room.ROOM_AGAIN_BYTES - 1]
    monkeypatch.setattr(room, "free_bytes", lambda path: free[0])
    job, watch = shop.order(), shop.watch(executor, CALM)
    for _ in range(3):
        watch.tick()
    assert shop.get(job).hold == "storage_full" and not executor.launched
    warnings = [one for one in shop.queue.events_since(LOCAL, job.id, 0)[1] if one.level == "warn"]
    assert [one.code for one in warnings] == ["storage_full"]
    assert f"{room.ROOM_AGAIN_BYTES >> 20} MB" in warnings[0].message
    assert "delete" in warnings[0].message
    later = shop.order()
    watch.tick()
    assert shop.get(later).hold == "storage_full"
    free[0] = room.ROOM_AGAIN_BYTES + 1  # a little more or less does not begin and stop it again and again
    watch.tick()
    assert shop.get(job).hold == "storage_full"
    free[0] = 2 * room.ROOM_AGAIN_BYTES
    watch.tick()
    assert shop.get(job).hold is None and len(executor.launched) == 2


def test_what_runs_already_goes_on_where_the_disk_has_little_room(
    sqlite_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, executor = sqlite_shop, InMemoryExecutor(cpus=8.0)
    (job,) = waits(shop, 1, shop.file())
    watch: Watch = shop.watch(executor, CALM)
    watch.tick()
    monkeypatch.setattr(room, "free_bytes", lambda path: 0)
    watch.tick()
    assert shop.get(job).status == "running" and shop.get(job).hold is None
    finish(shop, executor, job)
    watch.tick()
    assert shop.get(job).status == "succeeded"


def test_what_one_step_is_refused_holds_up_no_other(sqlite_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of files that is away, say: jobs begin, end and are taken over all the same."""
    shop, executor = sqlite_shop, InMemoryExecutor(cpus=8.0)
    watch, (job,) = shop.watch(executor, CALM), waits(shop, 1, shop.file())

    def away() -> None:
        raise StoreError("storage_broken", detail="away")

    monkeypatch.setattr(shop.store.files, "expire", away)
    assert watch.tick() is False and shop.get(job).status == "running"
    monkeypatch.undo()
    assert watch.tick() is True


def test_a_job_whose_files_cannot_be_fetched_yet_waits_and_holds_up_no_other(
    sqlite_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, executor = sqlite_shop, InMemoryExecutor(cpus=8.0)
    first, second = waits(shop, 2, shop.file())
    watch = shop.watch(executor, CALM)
    launch = watch._launcher.launch

    def away(job: Job, *more: Any) -> str:
        if job.id == first.id:
            raise StoreError("storage_broken", detail="away")
        return launch(job, *more)

    monkeypatch.setattr(watch._launcher, "launch", away)
    watch.tick()
    assert [shop.get(job).status for job in (first, second)] == ["queued", "running"]
    monkeypatch.undo()
    watch.tick()
    assert shop.get(first).status == "running"
