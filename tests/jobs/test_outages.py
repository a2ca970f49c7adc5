"""Faults of what is around a job: clocks, disks, memory, files that others change, a database that goes away."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from postil.errors import JobError
from postil.jobs import lease
from postil.store import LOCAL
from postil.store.tables import Job
from tests import postgres
from tests.jobs import invariants
from tests.jobs.shop import BASE, add_base, ended, until
from tests.jobs.stage import Forked, Stage, step_told

pytestmark = [pytest.mark.full, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that can fork")]


def second(fault: dict[str, Any]) -> Any:
    """What happens to the first attempt that trains."""
    return lambda run_id: fault if run_id.endswith(":2") else None


def test_fault_10_clocks_that_jump(stage: Stage, reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at a clock, of the server and of the workers, is a year too late, a day too early, or five minutes
    further than the one before."""
    real, looks = time.time, [0]

    def jumping() -> float:
        looks[0] += 1
        return real() + (365 * 86_400, -86_400, 300 * looks[0])[looks[0] % 3]

    stage.executor.faults = lambda run_id: {"clock": True}
    monkeypatch.setattr(time, "time", jumping)
    job = stage.shop.order()
    stage.run(job)
    monkeypatch.undo()
    row = stage.shop.get(job)
    assert looks[0] > 100 and row.attempt == 2  # one that looked at the data, one that trained: nobody was given up
    events = stage.shop.queue.events_since(LOCAL, job.id, 0, 10_000)[1]
    assert all(event.data["seconds_left"] >= 0 for event in events if event.type == "metrics" and event.data)
    invariants.check(stage.shop, reference=reference)


@pytest.mark.parametrize(("fault", "told"), [
    ({"where": ".tmp-", "action": "broken"}, "Input/output error"),
    ({"where": "events.jsonl", "action": "broken"}, "Input/output error"),
    ({"read only": "step-0000"}, ""),
    ({"read only": ".manifest.json"}, "Read-only file system"),
    ({"after": 13, "action": "no handles"}, ""),
], ids=["EIO at a checkpoint", "EIO at an event", "EROFS never met", "EROFS at a checkpoint", "EMFILE"])  # fmt: skip
def test_fault_12_a_disk_that_fails(stage: Stage, reference: str, fault: dict[str, Any], told: str) -> None:
    """What could not be synced is no checkpoint; the job is done again by another attempt."""
    stage.executor.faults = second(fault)
    job = stage.shop.order()
    stage.run(job)
    row = stage.shop.get(job)
    lost = [message for message in stage.shop.messages(job) if "worker was lost" in message]
    met = "step-0000" not in str(fault.get("read only"))
    assert (len(lost), row.attempt) == ((1, 3) if met else (0, 2))
    assert all(told in message for message in lost)
    assert not any("256 MB of room" in message for message in stage.shop.messages(job))
    invariants.check(stage.shop, reference=reference)


def test_fault_12_a_disk_that_fails_for_good(stage: Stage) -> None:
    """Not even its outcome can be written: it is tried a few times, and no oftener."""
    stage.executor.faults = lambda run_id: {"after": 3, "action": "no handles"} if run_id[-2:] != ":1" else None
    job = stage.shop.order()
    stage.run(job)
    row = stage.shop.get(job)
    assert row.status == "failed" and row.error is not None and row.error["code"] == "worker_lost"
    assert row.attempt == 1 + lease.MOST_LOST
    invariants.check(stage.shop)


def test_fault_13_out_of_memory(stage: Stage, reference: str) -> None:
    """The system gives the worker no more memory: the job fails at once and says what to try; the next one runs."""
    greedy, healthy = stage.shop.order(settings={"batch_size": "16"}), stage.shop.order()
    stage.executor.faults = lambda run_id: {"after": 2, "action": "no memory"} if run_id == f"{greedy.id}:2" else None
    stage.run(greedy, healthy)
    row = stage.shop.get(greedy)
    assert row.status == "failed" and row.error is not None, stage.shop.messages(greedy)
    assert row.error["code"] == "out_of_memory" and row.attempt == 2
    assert "batch_size=8" in row.error["message"] or "smaller base model" in row.error["message"]
    assert stage.shop.get(healthy).adapter_sha256 == reference
    invariants.check(stage.shop)


def test_fault_13_the_systems_killer(stage: Stage, reference: str) -> None:
    """It strikes once: the job goes on; the event says what it may have been."""
    stage.executor.faults = second({"after": 17, "action": "kill"})
    job = stage.shop.order()
    stage.run(job)
    assert any("lost" in message for message in stage.shop.messages(job))
    invariants.check(stage.shop, reference=reference)


def blob_of(stage: Stage, job: Job) -> Path:
    row = stage.shop.store.files.get(LOCAL, str(job.training_file))
    return stage.shop.store.directory / "blobs" / row.sha256[:2] / row.sha256


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_fault_15_the_training_file_on_the_disk(stage: Stage, how: str) -> None:
    job = stage.shop.order()
    file = blob_of(stage, job)
    if how == "gone":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    stage.run(job)
    row = stage.shop.get(job)
    assert row.status == "failed" and row.error is not None
    assert "训练.jsonl" in row.error["message"] and str(job.training_file) in row.error["message"]
    invariants.check(stage.shop)


@pytest.mark.parametrize("file", ["training.jsonl", "validation.jsonl", "test.jsonl", "plan.json"])
def test_fault_15_what_was_laid_out(stage: Stage, reference: str, file: str) -> None:
    """Changed between two attempts: it is laid out anew from the file that was uploaded."""
    job = stage.shop.order()
    watch = stage.shop.watch(stage.executor)
    watch.tick()
    until(lambda: (stage.shop.attempt(job, 1) / "outcome.json").exists())
    watch.lease.leave()
    run = stage.shop.attempt(job, 1) / "run"
    place = run / file if file == "plan.json" else run / "data" / file
    place.write_bytes(place.read_bytes()[:-40])
    stage.run(job)
    invariants.check(stage.shop, reference=reference)
    assert stage.shop.get(job).status == "succeeded"


@pytest.mark.parametrize("when", ["before", "during"])
def test_fault_15_the_base_model_on_the_disk(
    stage: Stage, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, when: str
) -> None:
    """Its weights are mapped into memory, so that what is written into them while a job trains is trained on."""
    home = tmp_path / "home"
    shutil.copytree((tiny / "models" / BASE), tmp_path / "copy")
    monkeypatch.setenv("POSTIL_HOME", str(home))
    add_base(tmp_path / "copy")
    weights = next((home / "models" / BASE).glob("*.safetensors"))
    job = stage.shop.order()
    watch = stage.shop.watch(stage.executor)
    watch.start()
    until(step_told(stage, job, 5) if when == "during" else (lambda: stage.shop.get(job).status != "validating_files"))
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    until(ended(stage.shop, job))
    until(lambda: not watch._runs)
    watch.stop(1.0)
    row = stage.shop.get(job)
    assert row.status == "failed" and row.error is not None and row.error["postil"] == "base_changed"
    assert BASE in row.error["message"] and str(weights.parent) not in row.error["message"]  # of the server
    invariants.check(stage.shop)


def test_fault_15_the_adapter_that_a_job_goes_on_from(stage: Stage, reference: str) -> None:
    first = stage.shop.order()
    stage.run(first)
    name = str(stage.shop.get(first).fine_tuned_model)
    model = stage.shop.store.models.get(LOCAL, name)
    job = stage.shop.order(model=name, training_file=first.training_file)
    watch = stage.shop.watch(stage.executor)
    watch.start()
    until(lambda: stage.shop.get(job).status != "validating_files")
    weights = stage.shop.store.directory / model.directory / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    until(ended(stage.shop, job))
    until(lambda: not watch._runs)
    watch.stop(1.0)
    row = stage.shop.get(job)
    assert row.status == "failed" and row.error is not None and row.error["postil"] == "data_changed"
    assert weights.name in row.error["message"]


@pytest.fixture
def away(forked: Forked, tmp_path: Path) -> Iterator[tuple[Stage, postgres.Running]]:
    if postgres.binaries() is None:
        pytest.skip("PostgreSQL (initdb and postgres) is not installed")
    with postgres.running() as own, postgres.database(own.address) as url:
        made = Stage(tmp_path / "store", forked, url)
        yield made, own
        made.shop.store.close()


@pytest.mark.parametrize("seconds", [0, 20])
def test_fault_16_postgresql_is_away_for_a_while(
    away: tuple[Stage, postgres.Running], reference: str, seconds: int
) -> None:
    """Killed at once while a job trains, and back later: what the worker told meanwhile is written down then."""
    stage, own = away
    job = stage.shop.order()
    watch = stage.shop.watch(stage.executor)
    watch.start()
    until(step_told(stage, job, 7))
    own.kill()
    time.sleep(seconds)
    own.start()
    until(ended(stage.shop, job))
    until(lambda: not watch._runs)
    watch.stop(1.0)
    assert stage.shop.get(job).attempt == 2
    invariants.check(stage.shop, reference=reference)


def test_fault_19_a_storm_of_actions_and_kills(stage: Stage, reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 random actions on 20 jobs with real workers, some of which are killed: who was not cancelled ends with the
    same bytes as if nothing had happened."""
    monkeypatch.setattr(lease, "MOST_LOST", 1000)
    chance, shop = random.Random(19), stage.shop
    file = shop.file()
    jobs = [shop.order(training_file=file) for _ in range(20)]
    watch = shop.watch(stage.executor)
    watch.start()
    kills = 0
    for _ in range(500):
        job = chance.choice(jobs)
        running = [one for one in jobs if shop.get(one).claimed]
        action = chance.choices(["pause", "resume", "kill", "cancel"], [40, 40, 15, 1])[0]
        if action == "kill" and running:
            with suppress(OSError, psutil.Error, ValueError):
                os.kill(psutil.Process(stage.pid(chance.choice(running))).pid, signal.SIGKILL)
                kills += 1
        else:
            with suppress(JobError):
                getattr(shop.queue, action)(LOCAL, job.id)
        time.sleep(0.05)
    for job in jobs:
        with suppress(JobError):
            shop.queue.resume(LOCAL, job.id)
    until(ended(shop, *jobs), 600)
    until(lambda: not watch._runs)
    watch.stop(1.0)
    done = [shop.get(job) for job in jobs]
    assert {row.status for row in done} <= {"succeeded", "cancelled"}
    assert kills > 10
    print(f"{kills} kills, {sum(row.status == 'cancelled' for row in done)} cancelled, "
          f"{sum(bool(row.resumed_from) for row in done)} went on from a checkpoint")  # fmt: skip
    invariants.check(shop, reference=reference)
