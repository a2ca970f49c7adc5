"""Who is taken for dead, and who is not: slow machines, long loads, starved threads, frozen processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from postil.jobs import InMemoryExecutor, LocalExecutor, Pace, Watch
from postil.jobs.attempt import BEAT, fence, read_beat
from postil.jobs.watch import PROGRAM
from postil.settings import for_worker
from postil.store import write_json
from postil.store.tables import Job
from tests.jobs import invariants
from tests.jobs.clock import Clock
from tests.jobs.puppet import Puppet
from tests.jobs.shop import Shop, ended, until

PACE = Pace(tick=0.01, silence=30.0, patience=600.0, grace=0.1, sweep=0.0)
# in the place of a library that takes as long to load as the test wants
SLOW = """
import sys, time
from pathlib import Path
here = Path(__file__).parents[1]
(here / "loads").touch()
while not (here / "go").exists():
    time.sleep(0.01)
sys.path.remove(str(here))
del sys.modules["{name}"]
import {name}
"""


def slow_to_load(where: Path, name: str = "pydantic") -> Path:
    """A directory for PYTHONPATH in which `name` is found first and loads until a file `go` is there."""
    (where / name).mkdir(parents=True)
    (where / name / "__init__.py").write_text(SLOW.format(name=name))
    return where


def test_a_worker_beats_while_its_libraries_load(tmp_path: Path) -> None:
    where, attempt = slow_to_load(tmp_path / "libraries"), tmp_path / "attempt"
    attempt.mkdir()
    write_json(attempt / "spec.json", {"directory": str(attempt), "attempt": 1, "wish": None, "kind": "none"})
    fence(attempt, 1)
    process = subprocess.Popen([sys.executable, *PROGRAM, "--spec", str(attempt / "spec.json")],
                               env={**for_worker(), "PYTHONPATH": str(where)}, start_new_session=True)  # fmt: skip
    try:
        until((where / "loads").exists)
        first = read_beat(attempt)
        assert first != "", "it beats before it loads"
        until(lambda: read_beat(attempt) > first)
        assert not (where / "go").exists()
        fence(attempt, 2)  # and it hears that its attempt counts no more
        assert process.wait(60) != 0
    finally:
        process.kill()
        process.wait()


def test_before_its_first_beat_a_worker_loads_nothing_heavy() -> None:
    code = "import sys, postil.jobs.worker; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "postil" in loaded
    assert not {"torch", "pydantic", "sqlalchemy", "numpy", "psutil", "transformers"} & set(loaded)


@pytest.mark.full
def test_fault_24_a_worker_slow_to_load_is_not_given_up(
    sqlite_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real program, on a machine where everything that it needs comes late."""
    where = slow_to_load(tmp_path / "libraries")
    monkeypatch.setenv("PYTHONPATH", str(where))
    shop, clock = sqlite_shop, Clock()
    job = shop.order()
    watch = shop.watch(LocalExecutor(shop.store.directory / "jobs", cpus=2.0), PACE, clock=clock)
    try:
        watch.tick()
        until((where / "loads").exists)
        for _ in range(4):
            before = read_beat(shop.attempt(job, 1))
            until(lambda before=before: read_beat(shop.attempt(job, 1)) != before)
            clock.now += PACE.silence / 2.1
            watch.tick()
        assert shop.get(job).attempt == 1 and "lost" not in " ".join(shop.messages(job))
        (where / "go").touch()
        until(lambda: (watch.tick(), shop.get(job).status != "validating_files")[1])
        assert shop.get(job).status in ("queued", "running") and shop.get(job).without_progress == 0
    finally:
        watch.stop(0.0)


class Scene:
    """A watch whose clock the test moves, and a worker that has begun."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.clock, self.executor = shop, Clock(), InMemoryExecutor()
        self.watch: Watch = shop.watch(self.executor, PACE, clock=self.clock)
        self.job: Job = shop.order()
        self.watch.tick()
        self.worker = Puppet(self.executor, self.executor.launched[0])

    def lasts(self, seconds: int, *, works: bool = False) -> bool:
        """Whether the worker is still believed in after so long without a beat."""
        step = 5 if seconds > 60 else 1
        for _ in range(0, seconds, step):
            self.clock.now += step
            if works and not self.executor.poll(self.worker.run_id).over:
                self.executor.work(self.worker.run_id)
            self.watch.tick()
        return self.shop.get(self.job).attempt == 1


@pytest.fixture
def scene(sqlite_shop: Shop) -> Scene:
    return Scene(sqlite_shop)


def test_fault_24_a_worker_that_has_not_come_to_its_first_beat_is_waited_for_minutes(scene: Scene) -> None:
    assert scene.lasts(500)
    assert not scene.lasts(110)


def test_a_worker_that_says_and_does_nothing_is_gone_soon(scene: Scene) -> None:
    scene.worker.beat(1)
    scene.watch.tick()
    assert scene.lasts(29)
    assert not scene.lasts(3)


def test_fault_24_a_worker_that_works_without_a_beat_is_waited_for_minutes(scene: Scene) -> None:
    """A library that loads, or a step in C, can hold up every thread of Python's."""
    scene.worker.beat(1)
    scene.watch.tick()
    assert scene.lasts(500, works=True)
    assert not scene.lasts(110, works=True), "but not for ever"


def test_one_that_worked_and_does_no_more_is_gone_soon(scene: Scene) -> None:
    scene.worker.beat(1)
    scene.watch.tick()
    assert scene.lasts(100, works=True)
    assert not scene.lasts(40)


def test_a_worker_that_has_ended_is_seen_at_once_beat_or_no_beat(scene: Scene) -> None:
    scene.worker.crash()
    assert not scene.lasts(1)


def test_fault_22_a_watch_that_was_frozen_itself_gives_nobody_up(scene: Scene) -> None:
    """A machine that slept, say: all stood still, and the worker's next beat is yet to come."""
    scene.worker.beat(1)
    scene.watch.tick()
    scene.clock.now += 3600.0
    scene.watch.tick()
    assert scene.shop.get(scene.job).attempt == 1
    scene.worker.beat(2)
    assert scene.lasts(29)


def test_fault_24_a_real_worker_whose_threads_are_held_up_is_not_given_up(sqlite_shop: Shop, tmp_path: Path) -> None:
    """It computes in one long step of C, in which no thread of Python's can run; frozen, it is gone."""
    program = tmp_path / "busy.py"
    program.write_text(textwrap.dedent(
        """
        import sys
        from pathlib import Path
        (Path(sys.argv[2]).parent / "beat").write_text("1")
        9 ** (9 ** 9)
        """
    ))  # fmt: skip
    shop, clock = sqlite_shop, Clock()
    executor, job = LocalExecutor(shop.store.directory / "jobs", cpus=2.0), shop.order()
    watch = shop.watch(executor, PACE, clock=clock, program=[str(program)])
    try:
        watch.tick()
        until((shop.attempt(job, 1) / BEAT).exists)
        run_id = f"{job.id}:1"
        watch.tick()
        for _ in range(20):
            pulse = executor.pulse(run_id)
            until(lambda pulse=pulse: executor.pulse(run_id) != pulse)
            clock.now += 10.0
            watch.tick()
        assert shop.get(job).attempt == 1
    finally:
        executor.stop(run_id, 0.0)
        watch.stop(0.0)


# ── the loop itself ──


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_fault_25_a_loop_that_dies_of_a_fault_of_ours_is_followed_by_another(
    sqlite_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart of the server: under a new name, with what the database and the directories say."""
    shop, executor = sqlite_shop, InMemoryExecutor()
    watch = shop.watch(executor, Pace(tick=0.01, silence=0.6, grace=0.1, sweep=0.0))
    assert not watch.alive()
    job, faults = shop.order(), iter(["x" * 2, "x"])
    tick = watch.tick

    def faulty() -> bool:
        if executor.launched and next(faults, ""):
            raise RuntimeError("a fault of ours")
        return tick()

    monkeypatch.setattr(watch, "tick", faulty)
    first = watch.lease.server
    watch.start()
    try:
        until(lambda: not watch.alive())
        until(watch.alive)
        until(lambda: shop.get(job).server not in (None, first))
        Puppet(executor, executor.launched[0]).validated()
        until(lambda: len(executor.launched) == 2)
        Puppet(executor, executor.launched[1]).succeed()
        until(ended(shop, job))
    finally:
        watch.stop(0.1)
    row = shop.get(job)
    assert (row.status, row.attempt, row.without_progress) == ("succeeded", 2, 0)
    assert not watch.alive()
    invariants.check(shop)


def test_a_loop_that_does_not_come_round_is_not_alive(sqlite_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from postil.jobs.watch import STALLED_SECONDS

    clock, came, go = Clock(), threading.Event(), threading.Event()
    watch = sqlite_shop.watch(InMemoryExecutor(), PACE, clock=clock)
    monkeypatch.setattr(watch, "tick", lambda: came.set() or go.wait())
    watch.start()
    assert came.wait(60) and watch.alive()
    clock.now += STALLED_SECONDS + 1
    assert not watch.alive()
    go.set()
    until(watch.alive)
    watch.stop(0.0)
