"""The contract of an executor, held by the one of this machine and by its twin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from postil.jobs import Executor, InMemoryExecutor, LocalExecutor, RunSpec, RunState, Slot, processes
from postil.jobs import local as room
from postil.settings import for_worker
from tests.jobs.shop import until

# waits to be told: a number to exit with, "grandchild" to start another process that ignores everybody
PROGRAM = textwrap.dedent(
    """
    import signal, subprocess, sys, time
    from pathlib import Path
    here = Path(sys.argv[1])
    if (here / "stubborn").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if (here / "grandchild").exists():
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        (here / "grandchild").write_text(str(subprocess.Popen([sys.executable, "-c", code]).pid))
    with (here / "started").open("a") as file:
        file.write("x")
    while not (here / "exit").exists():
        time.sleep(0.01)
    sys.exit(int((here / "exit").read_text()))
    """
)


class Stage(Protocol):
    """An executor with a way to direct its runs."""

    executor: Executor

    def spec(self, name: str, **needs: float) -> RunSpec: ...
    def exit(self, spec: RunSpec, code: int) -> None: ...
    def kill(self, spec: RunSpec) -> None: ...
    def stubborn(self, spec: RunSpec) -> None: ...
    def again(self) -> Executor: ...


class LocalStage:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.executor: Executor = LocalExecutor(root, cpus=2.0)

    def spec(self, name: str, **needs: float) -> RunSpec:
        place = self.root / name / "attempt-1"
        place.mkdir(parents=True)
        return RunSpec(f"{name}:1", ("-c", PROGRAM, str(place)), for_worker(), str(place), **needs)

    def started(self, spec: RunSpec) -> None:
        until((Path(spec.run_uri) / "started").exists)

    def exit(self, spec: RunSpec, code: int) -> None:
        (Path(spec.run_uri) / "exit").write_text(str(code))

    def kill(self, spec: RunSpec) -> None:
        os.kill(self.pid(spec), signal.SIGKILL)

    def stubborn(self, spec: RunSpec) -> None:
        (Path(spec.run_uri) / "stubborn").touch()

    def again(self) -> Executor:
        return LocalExecutor(self.root, cpus=2.0)

    def pid(self, spec: RunSpec) -> int:
        import json

        return int(json.loads((Path(spec.run_uri) / "process.json").read_text())["pid"])


class TwinStage:
    def __init__(self, root: Path) -> None:
        self.executor: Executor = InMemoryExecutor(cpus=2.0)
        self.root, self._stubborn = root, False

    @property
    def twin(self) -> InMemoryExecutor:
        assert isinstance(self.executor, InMemoryExecutor)
        return self.executor

    def spec(self, name: str, **needs: float) -> RunSpec:
        return RunSpec(f"{name}:1", (), {}, str(self.root), **needs)

    def started(self, spec: RunSpec) -> None:
        assert spec.run_id in self.twin.runs

    def exit(self, spec: RunSpec, code: int) -> None:
        self.twin.exit(spec.run_id, code)

    def kill(self, spec: RunSpec) -> None:
        self.twin.exit(spec.run_id, None, 9)

    def stubborn(self, spec: RunSpec) -> None:
        self.twin._obeys = False

    def again(self) -> Executor:
        return self.executor


@pytest.fixture(params=["local", "twin"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalStage | TwinStage]:
    made = LocalStage(tmp_path) if request.param == "local" else TwinStage(tmp_path)
    yield made
    for run_id in made.executor.reattach():
        made.executor.stop(run_id, 0)


def over(executor: Executor, run_id: str) -> Callable[[], bool]:
    return lambda: executor.poll(run_id).over


def test_a_run_that_is_launched_twice_runs_once(stage: LocalStage | TwinStage) -> None:
    spec = stage.spec("a")
    stage.executor.launch(spec)
    stage.started(spec)
    stage.executor.launch(spec)
    stage.again().launch(spec)  # nor after a restart
    assert stage.executor.poll("a:1") == RunState("running")
    assert stage.executor.reattach() == ["a:1"] and stage.executor.capacity()[0].runs == 1
    if isinstance(stage, LocalStage):
        assert (Path(spec.run_uri) / "started").read_text() == "x"


@pytest.mark.parametrize("code", [0, 3, 76])
def test_the_exit_code_is_told(stage: LocalStage | TwinStage, code: int) -> None:
    spec = stage.spec("a")
    stage.executor.launch(spec)
    stage.exit(spec, code)
    until(over(stage.executor, "a:1"))
    assert stage.executor.poll("a:1") == RunState("exited", code)
    assert stage.executor.reattach() == []


def test_a_signal_is_told(stage: LocalStage | TwinStage) -> None:
    spec = stage.spec("a")
    stage.executor.launch(spec)
    stage.kill(spec)
    until(over(stage.executor, "a:1"))
    assert stage.executor.poll("a:1") == RunState("exited", None, 9)


def test_a_run_that_nobody_launched_is_unknown(stage: LocalStage | TwinStage) -> None:
    assert stage.executor.poll("never:1") == RunState("unknown")
    stage.executor.stop("never:1", 0.0)


def test_a_stop_without_grace_ends_it_at_once_and_twice_is_once(stage: LocalStage | TwinStage) -> None:
    spec = stage.spec("a")
    stage.executor.launch(spec)
    stage.executor.stop("a:1", 0.0)
    stage.executor.stop("a:1", 0.0)
    until(over(stage.executor, "a:1"))
    assert stage.executor.poll("a:1").signal == 9


def test_fault_18_a_run_that_ignores_the_request_ends_after_its_grace(stage: LocalStage | TwinStage) -> None:
    spec = stage.spec("a")
    stage.stubborn(spec)
    stage.executor.launch(spec)
    stage.started(spec)
    stage.executor.stop("a:1", 0.3)
    assert not stage.executor.poll("a:1").over
    if isinstance(stage, TwinStage):
        stage.executor.stop("a:1", 0.0)
    until(over(stage.executor, "a:1"))
    assert stage.executor.poll("a:1").signal == 9


def test_an_obedient_run_ends_by_itself(stage: LocalStage | TwinStage) -> None:
    spec = stage.spec("a")
    stage.executor.launch(spec)
    stage.started(spec)
    stage.executor.stop("a:1", 60.0)
    until(over(stage.executor, "a:1"))
    assert stage.executor.poll("a:1").signal != 9


def test_capacity_is_what_is_left(stage: LocalStage | TwinStage) -> None:
    before = stage.executor.capacity()[0]
    stage.executor.launch(stage.spec("a", cpus=1.5, memory_mb=600))
    after = stage.executor.capacity()[0]
    assert (before.cpus, after.cpus, before.runs, after.runs) == (2.0, 0.5, 0, 1)
    assert after.memory_mb < before.memory_mb


def test_fault_05_after_a_restart_the_living_are_known_again(stage: LocalStage | TwinStage) -> None:
    alive, dead = stage.spec("alive"), stage.spec("dead")
    for spec in (alive, dead):
        stage.executor.launch(spec)
        stage.started(spec)
    stage.kill(dead)
    until(over(stage.executor, "dead:1"))
    again = stage.again()
    assert again.reattach() == ["alive:1"]
    assert again.poll("alive:1") == RunState("running") and again.poll("dead:1").over
    again.stop("alive:1", 0.0)
    until(over(again, "alive:1"))


# ── what only this machine has ──


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStage]:
    made = LocalStage(tmp_path)
    yield made
    for run_id in made.executor.reattach():
        made.executor.stop(run_id, 0)


@pytest.mark.parametrize("end", ["kill", "exit", "stop"])
def test_fault_18_no_grandchild_is_left(local: LocalStage, end: str) -> None:
    spec = local.spec("a")
    grandchild = Path(spec.run_uri) / "grandchild"
    grandchild.touch()
    local.executor.launch(spec)
    local.started(spec)
    pid = int(grandchild.read_text())
    assert psutil.pid_exists(pid)
    if end == "kill":
        local.kill(spec)
    elif end == "exit":
        local.exit(spec, 0)
    else:
        local.executor.stop("a:1", 0.2)
    until(over(local.executor, "a:1"))
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_number_that_another_process_has_now_is_nobody_of_ours(local: LocalStage, tmp_path: Path) -> None:
    """Pids are used again; ending the wrong process would be worse than losing a job."""
    import json

    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    spec = local.spec("a")
    record = {"run_id": "a:1", "pid": stranger.pid, "started": "another boot:1", "spec": spec.as_json(), "gpu": None}
    (Path(spec.run_uri) / "process.json").write_text(json.dumps(record))
    assert local.executor.reattach() == []
    local.executor.stop("a:1", 0.0)
    assert local.executor.poll("a:1").over
    time.sleep(0.1)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_run_outlives_its_server_and_has_a_session_of_its_own(local: LocalStage) -> None:
    spec = local.spec("a")
    code = (
        "import sys, json; from pathlib import Path; from postil.jobs import LocalExecutor, RunSpec;"
        "spec = RunSpec.from_json(json.loads(sys.argv[2])); LocalExecutor(Path(sys.argv[1])).launch(spec)"
    )
    import json

    subprocess.run([sys.executable, "-c", code, str(local.root), json.dumps(spec.as_json())], check=True, timeout=120)
    assert local.executor.reattach() == ["a:1"]
    assert os.getsid(local.pid(spec)) == local.pid(spec) != os.getsid(0)
    local.exit(spec, 0)
    until(over(local.executor, "a:1"))


def test_attack_17_the_environment_holds_no_secret(local: LocalStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("POSTIL_DATABASE", "postgresql://user:secret@host/db")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    spec = local.spec("a")
    local.executor.launch(spec)
    local.started(spec)
    assert "secret" not in " ".join(psutil.Process(local.pid(spec)).environ().values())


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine that says that it has two GPUs."""
    (tmp_path / "driver").touch()
    monkeypatch.setattr(room, "SIGNS", (str(tmp_path / "driver"),))
    monkeypatch.setattr(room, "COUNT", "import os; print(2 if os.environ.get('CUDA_VISIBLE_DEVICES') != 'none' else 0)")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    room.cards.cache_clear()
    yield
    room.cards.cache_clear()


@pytest.mark.parametrize(("visible", "found"), [
    ("", ("0", "1")), ("3, GPU-5c8e", ("3", "GPU-5c8e")), ("5,6,7", ("5", "6")), ("none", ()),
])  # fmt: skip
def test_gpus_are_those_that_torch_sees_under_the_names_that_the_user_gave_them(
    two_cards: None, monkeypatch: pytest.MonkeyPatch, visible: str, found: tuple[str, ...]
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert room.cards() == found


def test_where_no_driver_shows_itself_nobody_is_asked(two_cards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SIGNS", ("/nowhere",))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(room, "run", lambda *arguments, **named: pytest.fail("asked"))
    assert room.cards() == ()


def test_each_run_has_a_gpu_of_its_own_until_it_ends(two_cards: None, local: LocalStage) -> None:
    specs = [local.spec(name, gpus=1) for name in "abc"]
    for spec in specs[:2]:
        local.executor.launch(spec)
        local.started(spec)
    assert local.executor.capacity()[0].gpus == 0 and local.executor.capacity()[0].total_gpus == 2
    local.exit(specs[0], 0)
    until(over(local.executor, "a:1"))
    assert local.executor.capacity()[0].gpus == 1
    local.executor.launch(specs[2])
    given = [psutil.Process(local.pid(spec)).environ()["CUDA_VISIBLE_DEVICES"] for spec in specs[1:]]
    assert given == ["1", "0"]


@pytest.mark.parametrize(("slot", "fits"), [
    (Slot("n", 2, 1000, 0, 4000, 1), True), (Slot("n", 2, 499, 0, 4000, 1), False),
    (Slot("n", 0, 1000, 0, 4000, 1), False),
    (Slot("n", 0, 10, 0, 4000, 0), True), (Slot("n", 2, 1000, 0, 400, 0), False),
])  # fmt: skip
def test_an_empty_node_takes_what_it_could_ever_hold(slot: Slot, fits: bool) -> None:
    assert slot.fits(500, 1, 0) is fits
    assert not slot.fits(500, 1, 1)  # there is no GPU


def test_fault_21_a_run_of_another_machine_is_neither_polled_nor_ended_from_here(
    local: LocalStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be somebody else's here, or nobody's: nothing can be said, and nothing may be done."""
    spec = local.spec("a")
    local.executor.launch(spec)
    local.started(spec)
    process = psutil.Process(local.pid(spec))
    with monkeypatch.context() as patch:
        patch.setattr(processes, "table", lambda: "another machine of the same name")
        other = LocalExecutor(local.root, cpus=2.0)
        assert other.reattach() == [] and other.poll(spec.run_id) == RunState("apart")
        assert not other.poll(spec.run_id).over and other.pulse(spec.run_id) == ""
        assert other.capacity()[0].runs == 0
        other.stop(spec.run_id, 0.0)
        processes.kill({**processes.name_of(process.pid), "table": "yet another"})
    assert process.is_running() and local.executor.poll(spec.run_id) == RunState("running")
    local.exit(spec, 0)
    until(over(local.executor, spec.run_id))


def test_a_process_that_works_has_a_pulse_and_one_that_waits_has_none() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    idle = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"],
                            stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert idle.stdout is not None and idle.stdout.readline()
        first = processes.pulse({"pid": busy.pid})
        until(lambda: processes.pulse({"pid": busy.pid}) != first)
        os.kill(busy.pid, signal.SIGSTOP)
        until(lambda: psutil.Process(busy.pid).status() == psutil.STATUS_STOPPED)
        for process in (busy, idle):
            until(
                lambda process=process: processes.pulse({"pid": process.pid}) == processes.pulse({"pid": process.pid})
            )
    finally:
        for process in (busy, idle):
            process.kill()
            process.wait()
    assert processes.pulse({"pid": busy.pid}) == ""


def test_attack_17_33_what_a_run_s_environment_holds_is_not_written_down(tmp_path: Path) -> None:
    """Downloads get the addresses of proxies and package indexes, in which passwords may stand."""
    stage = LocalStage(tmp_path)
    spec = replace(stage.spec("a"), env={**for_worker(), "HTTPS_PROXY": "http://ada:tr0ub4dor@proxy.example"})
    stage.executor.launch(spec)
    stage.started(spec)
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert written and not [file for file in written if b"tr0ub4dor" in file.read_bytes()]
    stage.exit(spec, 0)
    until(lambda: stage.executor.poll(spec.run_id).over)
