"""A power cut at every moment of a job, from the upload of its file to its model. Nothing acknowledged is lost."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from postil.jobs.publish import Publisher
from postil.store import LOCAL
from postil.store.tables import Job
from tests.jobs import invariants, powercut
from tests.jobs.shop import Shop, ended, until
from tests.jobs.stage import Forked

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
SHORT = {"n_epochs": "1", "save_steps": "4", "validation_rows": "6", "test_rows": "0"}
STATES = int(os.environ.get("POSTIL_FAULT_STATES", "120"))  # of a few hundred; 0: all


def finish(shop: Shop, executor: Forked, *jobs: Job) -> None:
    executor._directory = shop.store.directory / "jobs"
    executor._records.clear()  # another machine, on which the same attempts may begin again
    watch = shop.watch(executor)
    watch.start()
    try:
        until(ended(shop, *jobs), 240, lambda: str([shop.messages(job)[-4:] for job in jobs]))
        until(lambda: not watch._runs)
    finally:
        watch.stop(1.0)


@pytest.fixture(scope="module")
def journal(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The recorded life of a job, and the SHA-256 of its adapter."""
    place, journal = tmp_path_factory.mktemp("recorded") / "store", tmp_path_factory.mktemp("journal")
    place.mkdir()
    recorder = powercut.Recorder(place, journal)
    try:
        shop = Shop(place)
        forked.faults = lambda run_id: {"record": str(place), "journal": str(journal)}
        job = shop.order(settings=SHORT)
        finish(shop, forked, job)
    finally:
        recorder.stop()
        forked.faults = lambda run_id: None
    yield journal, str(shop.get(job).adapter_sha256)
    shop.store.close()


@pytest.mark.slow
def test_fault_04_what_gets_a_name_is_synced_before_and_named_for_good_after(journal: tuple[Path, str]) -> None:
    """Of a checkpoint, the adapter, an upload and all that the server tells a worker."""
    seen = list(powercut.renames(journal[0]))
    for part in ("checkpoints/step-", "adapters/", "blobs/", "outcome.json", "fence", "inputs/", "adapter_model"):
        assert any(part in target for target, _, _ in seen), part
    assert [(target, unsynced) for target, unsynced, _ in seen if unsynced] == []
    assert [target for target, _, named in seen if not named] == []


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_fault_03_a_power_cut_at_every_moment(journal: tuple[Path, str], forked: Forked, tmp_path: Path) -> None:
    recorded, reference = journal
    states = list(powercut.worst_disks(recorded))
    chosen = states if not STATES else states[:: max(1, len(states) // STATES)]
    for number, (label, picture, database) in enumerate(chosen):
        place = tmp_path / str(number)
        powercut.build(picture, database, place)
        try:
            after(place, forked, reference)
        except BaseException:
            print(f"the disk {label}")
            raise
        shutil.rmtree(place)
    print(f"{len(chosen)} disks of {len(states)}, each went on to the same bytes")


def after(place: Path, forked: Forked, reference: str) -> None:
    """The machine starts again on such a disk."""
    shop = Shop(place)
    try:
        for row in shop.store.files.list(LOCAL).rows:
            with shop.store.files.open(row) as kept:
                assert hashlib.sha256(kept.read()).hexdigest() == row.sha256
        jobs = shop.queue.list(LOCAL).rows
        finish(shop, forked, *jobs)
        assert [shop.get(job).status for job in jobs] == ["succeeded"] * len(jobs), [shop.messages(j) for j in jobs]
        for rest in (*(place / "staging").iterdir(), *(place / "adapters").glob(".tmp-*")):
            os.utime(rest, (0, 0))  # what was under way goes an hour or two later
        shop.store.blobs.tidy()
        Publisher(shop.store).tidy(3600.0)
        invariants.check(shop, reference=reference)
    finally:
        shop.store.close()


def test_what_a_torn_file_looks_like() -> None:
    assert powercut.torn(b"abcdef", b"ab") == b"ab\0\0ef"
    assert powercut.torn(b"abcd", b"x") == b"\0\0cd"
    assert powercut.torn(b"", b"") == b""
