"""Faults on purpose: processes killed at every kind of moment, damaged checkpoints, full disks, frozen workers.

Each test ends with the invariants: every job has ended exactly once, and the adapter is byte for byte the one of a run
to which nothing happened. `POSTIL_FAULT_KILLS` sets how many random kills there are.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from postil.jobs import Pace, Watch, lease
from postil.jobs.lease import Lease
from postil.settings import for_child
from postil.store import LOCAL
from tests.jobs import invariants
from tests.jobs.shop import SETTINGS, Shop, ended, until
from tests.jobs.stage import Forked, Stage, gone, step_told

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that can fork")]
KILLS = int(os.environ.get("POSTIL_FAULT_KILLS", "10"))
UPDATES = 48
HERE = Path(__file__).parents[2]


def test_fault_01_a_worker_killed_at_random_moments(
    stage: Stage, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "MOST_LOST", KILLS + 1)  # several may strike between two checkpoints
    chance = random.Random(11)
    moments = iter(sorted(chance.choices(range(1, UPDATES), k=KILLS)))
    stage.executor.faults = lambda run_id: (
        {"after": step, "action": "kill"} if int(run_id.split(":")[1]) > 1 and (step := next(moments, 0)) else None
    )
    job = stage.shop.order()
    stage.run(job)
    row = stage.shop.get(job)
    assert row.status == "succeeded" and row.attempt == KILLS + 2
    lost = [message for message in stage.shop.messages(job) if "worker was lost" in message]
    assert len(lost) == KILLS
    print(f"{KILLS} kills, went on from {row.resumed_from}")
    struck_at = sorted(random.Random(11).choices(range(1, UPDATES), k=KILLS))
    for struck, resumed in zip(reversed(struck_at), reversed(row.resumed_from), strict=False):
        assert 0 <= struck - resumed <= int(SETTINGS["save_steps"])  # no more is lost than since the last checkpoint
    assert row.resumed_from == sorted(row.resumed_from)
    invariants.check(stage.shop, reference=reference)


def test_fault_02_a_worker_killed_at_every_sync_of_a_checkpoint(
    stage: Stage, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt dies one sync later than the one before, through a whole checkpoint and the start of the next."""
    struck = [0]

    def fault(run_id: str) -> dict[str, object] | None:
        if int(run_id.split(":")[1]) == 1 or struck[0] >= 26:
            return None
        struck[0] += 1
        return {"sync": 8 + struck[0], "action": "kill"}

    stage.executor.faults = fault
    monkeypatch.setattr(lease, "MOST_LOST", 100)  # so close together that there is no progress between some
    job = stage.shop.order()
    stage.run(job)
    assert stage.shop.get(job).attempt == 28
    invariants.check(stage.shop, reference=reference)


SERVER = """
import sys
from pathlib import Path
from postil.jobs import Queue
from tests.jobs.shop import QUICK, Shop
shop = Shop(Path(sys.argv[1]))
watch = shop.watch()
import signal, threading
over = threading.Event()
signal.signal(signal.SIGTERM, lambda number, frame: over.set())
watch.start()
print("ready", flush=True)
over.wait()
watch.stop(20)
"""


class Server:
    """A server's process, with the real program for its workers."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(directory)], env={**for_child(), "PYTHONPATH": str(HERE)},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None and self.process.stdout.readline() == "ready\n"

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


LONG = {"n_epochs": "100", "save_steps": "20", "evaluations_per_epoch": "1"}  # so that a server can come and go


def test_fault_05_06_07_the_server_is_killed_alone_with_its_workers_and_asked_to_end(
    stage: Stage, forked: Forked, tmp_path: Path
) -> None:
    undisturbed = Stage(tmp_path / "undisturbed", forked)
    whole = undisturbed.shop.order(settings=LONG)
    undisturbed.run(whole)
    forked._directory = stage.shop.directory / "jobs"
    shop, job, second = stage.shop, stage.shop.order(settings=LONG), stage.shop.order(settings=LONG)
    server = Server(shop.directory)
    until(step_told(stage, job, 30))
    pid, attempt = stage.pid(job), shop.get(job).attempt
    server.end(signal.SIGKILL)  # 5: the worker goes on, and the next server takes it up
    before, written = shop.get(job), shop.attempt(job, attempt) / "events.jsonl"
    size = written.stat().st_size
    until(lambda: written.stat().st_size > size)
    server = Server(shop.directory)
    until(lambda: shop.get(job).server != before.server, 10.0)
    until(step_told(stage, job, before.progress["step"] + 40))
    assert (shop.get(job).status, shop.get(job).attempt, stage.pid(job)) == ("running", attempt, pid)
    assert server.end(signal.SIGTERM) == 0  # 7: a checkpoint, and all at rest
    row = shop.get(job)
    assert (row.status, row.claimed, row.without_progress) == ("queued", False, 0) and gone(pid)
    server = Server(shop.directory)
    until(step_told(stage, job, row.last_checkpoint + 40))
    pid = stage.pid(job)
    later = [shop.order(settings=LONG, priority=priority) for priority in (0, 1, 0)]
    server.process.kill()  # 6: all together
    os.killpg(pid, signal.SIGKILL)
    server.end(signal.SIGKILL)
    ordered = [one.id for one in (later[1], later[0], later[2]) if not shop.get(one).claimed]
    waiting = [one.id for one in Lease(shop.store, "nobody").waiting()]
    assert [one for one in waiting if one in ordered] == ordered  # the order is kept
    for one in later:
        shop.queue.cancel(LOCAL, one.id)
    server = Server(shop.directory)
    until(ended(shop, job, second, *later), 280)
    assert server.end(signal.SIGTERM) == 0
    done = [shop.get(one) for one in (job, second)]
    assert [one.status for one in done] == ["succeeded", "succeeded"]
    assert len(done[0].resumed_from) == 2 and done[0].attempt == attempt + 2
    assert done[0].resumed_from[0] == row.last_checkpoint  # not an update was lost
    print("went on from", done[0].resumed_from)
    invariants.check(shop, reference=str(undisturbed.shop.get(whole).adapter_sha256))


def test_fault_09_a_frozen_worker_is_replaced_and_then_thaws(stage: Stage, reference: str) -> None:
    """The old one cannot be reached, as if its node were cut off: only the fence holds it."""
    stage.executor.faults = lambda run_id: {"after": 9, "action": "freeze"} if run_id.endswith(":2") else None
    unreachable: set[str] = set()
    real = stage.executor.stop

    def stop(run_id: str, grace: float) -> None:
        if not run_id.endswith(":2"):
            real(run_id, grace)
        else:
            unreachable.add(run_id)

    stage.executor.stop = stop  # type: ignore[method-assign]
    try:
        job = stage.shop.order()
        watch = stage.shop.watch(stage.executor, Pace(tick=0.05, silence=8.0, grace=5.0, sweep=0.5))
        watch.start()
        until(lambda: stage.shop.get(job).attempt == 2)
        until(lambda: (stage.shop.attempt(job, 2) / "process.json").exists())
        frozen = stage.pid(job)
        until(lambda: stage.shop.get(job).attempt == 3)
        until(step_told(stage, job, 20))
        assert psutil.Process(frozen).status() == psutil.STATUS_STOPPED and unreachable
        until(ended(stage.shop, job))
        row = vars(stage.shop.get(job))
        os.kill(frozen, signal.SIGCONT)
        until(lambda: not psutil.pid_exists(frozen), 30, "the old worker did not end itself")
        until(lambda: not stage.shop.attempt(job, 2).exists(), 30, "it left something behind")
        watch.stop(1.0)
    finally:
        stage.executor.stop = real  # type: ignore[method-assign]
    after = vars(stage.shop.get(job))
    assert {k: v for k, v in after.items() if k[0] != "_"} == {k: v for k, v in row.items() if k[0] != "_"}
    invariants.check(stage.shop, reference=reference)


@pytest.mark.parametrize("where", ["step-", "adapter_model", "events.jsonl"])
def test_fault_11_a_full_disk(stage: Stage, reference: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full for the worker at a checkpoint, at the adapter, or at an event; later there is room again."""
    from postil.jobs import watch as room

    stage.executor.faults = lambda run_id: (
        {"where": where if where != "step-" else ".tmp-", "action": "full"} if run_id.endswith(":2") else None
    )
    full, job = [True], stage.shop.order()
    monkeypatch.setattr(room, "free_bytes", lambda path: 0 if full[0] and stage.shop.get(job).attempt >= 2 else 1 << 40)
    watch = stage.shop.watch(stage.executor)
    watch.start()
    until(lambda: stage.shop.get(job).hold == "storage_full")
    assert stage.shop.get(job).status == "queued"
    full[0] = False
    until(ended(stage.shop, job))
    until(lambda: not watch._runs)
    watch.stop(1.0)
    assert stage.shop.get(job).attempt == 3 and any("256 MB of room" in one for one in stage.shop.messages(job))
    invariants.check(stage.shop, reference=reference)


def damage(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    if how == "bit":
        content[len(content) // 2] ^= 1
    elif how == "zero":
        content = bytearray(len(content))
    else:
        content = content[: len(content) // 2]
    path.write_bytes(content)


FILES = ("adapter.safetensors", "best.safetensors", "moments.safetensors", "state.json", "manifest.json")
HOW = ("bit", "truncate", "zero", "gone")
EACH_ONCE = [(file, HOW[i % len(HOW)]) for i, file in enumerate(FILES)] + [("all", "gone")]
OTHERS = [(file, how) for file in FILES for how in HOW if (file, how) not in EACH_ONCE]


@pytest.mark.parametrize(("file", "how"), [*EACH_ONCE, *(pytest.param(*one, marks=pytest.mark.full) for one in OTHERS)])
def test_fault_14_a_damaged_checkpoint_is_never_used(stage: Stage, reference: str, file: str, how: str) -> None:
    stage.executor.faults = lambda run_id: {"after": 23, "action": "kill"} if run_id.endswith(":2") else None
    job = stage.shop.order()
    watch: Watch = stage.shop.watch(stage.executor)
    while stage.shop.get(job).attempt < 2:
        watch.tick()
    until(lambda: stage.executor.poll(f"{job.id}:2").over)
    checkpoints = sorted((stage.shop.attempt(job, 2) / "run" / "checkpoints").glob("step-*"))
    if file == "all":
        for path in checkpoints:
            shutil.rmtree(path)
    else:
        damage(checkpoints[-1] / file, how)
    watch.start()
    until(ended(stage.shop, job))
    until(lambda: not watch._runs)
    watch.stop(1.0)
    row = stage.shop.get(job)
    assert row.status == "succeeded"
    assert row.resumed_from == ([] if file == "all" else [int(checkpoints[-2].name[5:])])
    if file != "all":
        assert any("damaged" in message for message in stage.shop.messages(job))
    invariants.check(stage.shop, reference=reference)


def test_fault_18_a_poison_job_ends_and_the_next_one_runs(stage: Stage, reference: str) -> None:
    poison, healthy = stage.shop.order(), stage.shop.order()
    stage.executor.faults = lambda run_id: (
        {"after": 7, "action": "kill"} if run_id.startswith(poison.id) and not run_id.endswith(":1") else None
    )
    stage.run(poison, healthy)
    row = stage.shop.get(poison)
    assert row.status == "failed" and row.error is not None and row.error["code"] == "worker_lost"
    assert stage.shop.get(healthy).adapter_sha256 == reference
    invariants.check(stage.shop, reference=reference)


def test_fault_19_pause_and_resume_and_stop_and_keep(stage: Stage, reference: str) -> None:
    shop, paused, kept = stage.shop, stage.shop.order(), stage.shop.order(settings=LONG)
    stage.executor.faults = lambda run_id: None
    watch = shop.watch(stage.executor)
    watch.start()
    until(step_told(stage, paused, 5))
    shop.queue.pause(LOCAL, paused.id)
    until(lambda: shop.get(paused).status in ("paused", "succeeded"))
    until(step_told(stage, kept, 6))
    try:
        shop.queue.keep(LOCAL, kept.id)
    finally:
        shop.queue.resume(LOCAL, paused.id)
    until(ended(shop, paused, kept))
    until(lambda: not watch._runs)
    watch.stop(1.0)
    assert shop.get(paused).adapter_sha256 == reference and len(shop.get(paused).resumed_from) == 1
    row = shop.get(kept)
    assert row.status == "succeeded" and row.result is not None and row.result["updates"] < 25 * UPDATES
    events = shop.queue.events_since(LOCAL, kept.id, 0)[1]
    assert [event.level for event in events if event.code == "kept"] == ["warn"]
    invariants.check(shop)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_fault_08_two_servers_and_four_watchers_race_for_200_jobs(
    kind: str, tiny: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from contextlib import ExitStack

    from tests import postgres

    with ExitStack() as leave:
        url = ""
        if kind == "postgresql":
            url = leave.enter_context(postgres.database(request.getfixturevalue("postgres")))
        shop = Shop(tmp_path / "store", url)
        file = shop.file()
        jobs = [shop.order(training_file=file) for _ in range(200)]
        claimed: list[tuple[str, int]] = []
        faults: list[BaseException] = []

        def race(watch: Watch) -> None:
            try:
                watch.lease.beat("here", "0/none")
                while waiting := watch.lease.waiting(5):
                    job = watch.lease.claim(random.choice(waiting).id)
                    if job is not None:
                        claimed.append((job.id, job.attempt))
                        watch.lease.failed(job, {"code": "x", "postil": "diverged", "message": "over"})
            except BaseException as fault:  # noqa: BLE001 - told by the assertion
                faults.append(fault)

        stores = [shop, Shop(tmp_path / "store", url)]
        watches = [stores[i % 2].watch(Forked(tmp_path)) for i in range(4)]
        threads = [threading.Thread(target=race, args=(watch,)) for watch in watches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert sorted(claimed) == sorted((job.id, 1) for job in jobs)
        for store in stores:
            store.store.close()
