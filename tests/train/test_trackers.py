"""Curves of a run: one value for each step whatever happens, and nothing of them breaks or changes the run."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event as Written

from postil.locales import LANGUAGES, say
from postil.records import Event
from postil.settings import for_child
from postil.train import order_trackers, run, trackers
from postil.train.trackers import KINDS, Kind, Label, TensorBoard, Tracker, Trackers, switched_on
from tests.models import Build, plan
from tests.runs import adapter_hashes, laid_out

SHORT = {"n_epochs": 1, "save_steps": 4}
OTHER = {"wandb": {"project": "p", "name": "n", "tags": ["a"]}}


def curves(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value) of all event files, in the order in which they stand there."""
    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((directory / "tensorboard").glob("*tfevents*")):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack("<Q", data[at : at + 8])
            event = Written.FromString(data[at + 12 : at + 12 + length])
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
            at += 16 + length
    return found


def told(directory: Path) -> dict[str, list[int]]:
    """Name -> the steps at which metrics.jsonl has it."""
    found: dict[str, list[int]] = {}
    for line in (directory / "metrics.jsonl").read_text("utf-8").splitlines():
        for name in (numbers := json.loads(line)):
            if name != "step":
                found.setdefault(name, []).append(numbers["step"])
    return found


class Said(list[tuple[str, str]]):
    """What a person is told: (code, name of the tracker)."""

    values: dict[str, Any]

    def __call__(self, code: str, level: str, **values: Any) -> None:
        assert level == "warn"
        self.append((code, values["name"]))
        self.values = values


class Recorder:
    """A tracker that remembers, and fails when it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.closed, self.label = fails, 0, Label("", "")
        self.steps: list[int] = []

    def open(self, place: Path, label: Label) -> Tracker:
        if self.fails == "open":
            raise ImportError("cannot import name 'init'")
        assert place.is_dir() and not list(place.iterdir())
        self.label, self.steps = label, []
        return self

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        if self.fails == "log" and step == 3:
            raise OSError(28, "No space left on device")
        self.steps.append(step)

    def close(self) -> None:
        self.closed += 1
        if self.fails == "close":
            raise RuntimeError("service is gone")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(trackers, "KINDS", {**KINDS, "wandb": Kind("json", made.open)})
    monkeypatch.setenv("POSTIL_TRACKERS", "wandb")
    return made


# ── what goes wrong ──


@pytest.mark.parametrize(("fails", "steps"), [("open", []), ("log", [1, 2]), ("close", [1, 2, 3, 4])])
def test_a_tracker_that_fails_is_told_once_and_the_others_go_on(
    tmp_path: Path, recorder: Recorder, fails: str, steps: list[int]
) -> None:
    recorder.fails, said = fails, Said()
    one = Trackers(tmp_path, plan(), said)
    one.begin([{"step": 1, "loss": 2.0}])
    for step in (2, 3, 4):
        one.log(step, {"loss": 1.0})
    one.close()
    assert said == [("tracker_failed", "wandb")] and recorder.steps == steps
    assert curves(tmp_path) == {"train/loss": [(1, 2.0), (2, 1.0), (3, 1.0), (4, 1.0)]}


def test_a_full_disk_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorboardX.record_writer.open_file", lambda path: open("/dev/full", "wb", 0))  # noqa: SIM115, PTH123
    said = Said()
    one = Trackers(tmp_path, plan(), said)
    one.begin([])
    for step in range(1, 5):
        one.log(step, {"loss": 1.0})
    one.close()
    assert said == [("tracker_failed", "tensorboard")] and "space" in said.values["reason"]
    for lang in LANGUAGES:
        assert "tensorboard" in say("event.tracker_failed", lang, **said.values)


def test_what_is_switched_on_but_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "KINDS", {"wandb": Kind("no_such_package", TensorBoard)})
    monkeypatch.setenv("POSTIL_TRACKERS", "wandb, clearml")
    said = Said()
    Trackers(tmp_path, plan(), said).begin([])
    assert said == [("tracker_unknown", "tensorboard"), ("tracker_missing", "wandb"), ("tracker_unknown", "clearml")]


def test_what_the_setting_means() -> None:
    assert switched_on("") == ["tensorboard"] and switched_on(" none ") == []
    assert switched_on("WandB, mlflow,,wandb") == ["tensorboard", "wandb", "mlflow"]


# ── what is kept ──


@pytest.fixture(scope="module")
def whole(base: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run") / "whole"
    laid_out(directory, base("llama3"), **SHORT)
    run(directory, lambda event: None)
    return directory


def test_a_run_that_was_killed_has_one_value_for_each_step(
    base: Build, tmp_path: Path, whole: Path, recorder: Recorder
) -> None:
    """Killed after a step that no checkpoint holds: what came after the checkpoint is done and told again."""
    laid_out(tmp_path / "out", base("llama3"), **SHORT)

    def killed(event: Event) -> None:
        if event.type == "metrics" and event.data["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", killed)
    assert recorder.steps == [1, 2, 3, 4, 5]
    torn = next((tmp_path / "out" / "tensorboard").iterdir())
    torn.write_bytes(torn.read_bytes()[:-7])
    run(tmp_path / "out", lambda event: None)
    found, expected = curves(tmp_path / "out"), curves(whole)
    names = {"loss": "train/loss", "validation_loss": "validation/loss"}
    assert {names.get(n, f"train/{n}"): steps for n, steps in told(tmp_path / "out").items()} == {
        name: [step for step, _ in values] for name, values in found.items()
    }
    for name in ("train/loss", "validation/loss", "train/learning_rate"):
        assert found[name] == expected[name]
    assert "train/tokens_per_second" in found and recorder.steps == [1, 2, 3, 4, 5, 6]
    assert adapter_hashes(tmp_path / "out") == adapter_hashes(whole)


def test_trackers_change_nothing_of_the_run(
    base: Build, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTIL_TRACKERS", "none")
    laid_out(tmp_path / "out", base("llama3"), **SHORT)
    run(tmp_path / "out", lambda event: None)
    assert adapter_hashes(tmp_path / "out") == adapter_hashes(whole)
    assert (whole / "tensorboard").is_dir() and not (tmp_path / "out" / "tensorboard").exists()


def test_another_program_is_told_the_name_that_was_ordered(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTIL_TRACKER_PROJECT", "shop")
    for ordered, label in (({}, ("shop", "标题", ())), (OTHER, ("p", "n", ("a",)))):
        order_trackers(tmp_path / "标题", ordered)
        one = Trackers(tmp_path / "标题", plan(r=4), Said())
        one.begin([])
        one.close()
        assert (recorder.label.project, recorder.label.name, recorder.label.tags) == label
        assert recorder.label.plan["r"] == 4 and "system" not in recorder.label.plan
    assert recorder.closed == 2


# ── the programs themselves ──

REAL = """
import json, site, sys
site.addsitedir(sys.argv[1])  # behind ours
from pathlib import Path
from postil.settings import quiet
quiet()
from postil.train.trackers import Trackers
from tests.models import plan
one = Trackers(Path(sys.argv[2]), plan(), lambda code, **values: print(code, values))
one.begin([])
one.log(1, {"loss": 9.0})
one.begin([{"step": 1, "loss": 2.0}])
one.log(2, {"loss": 1.0, "validation_loss": 0.5})
one.close()
from mlflow import MlflowClient
(file,) = (Path(sys.argv[2]) / "mlflow").glob("*.db")
client = MlflowClient(tracking_uri=f"sqlite:///{file}")
(run,) = client.search_runs([one.experiment_id for one in client.search_experiments() if one.name == "postil"])
print(json.dumps([[m.step, m.value] for m in client.get_metric_history(run.info.run_id, "train/loss")]))
"""


@pytest.mark.full  # hundreds of megabytes to install
@pytest.mark.timeout(1500)
def test_the_programs_themselves_are_told(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.api.others import python_with

    kept = request.config.cache.mkdir("others")  # type: ignore[union-attr]
    theirs = python_with(kept, "wandb==0.31.0", "swanlab==0.10.3", "mlflow-skinny==3.17.2").parents[1]
    (packages,) = theirs.rglob("site-packages")
    monkeypatch.setenv("POSTIL_TRACKERS", "wandb,swanlab,mlflow")
    done = subprocess.run([sys.executable, "-c", REAL, str(packages), str(tmp_path)], capture_output=True, text=True,
                          env=for_child(), cwd=Path(__file__).parents[2])  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[[1, 2.0], [2, 1.0]]"]  # and nothing of theirs
    for pattern in ("wandb/wandb/offline-run-*/*.wandb", "swanlab/run-*/*.swanlab"):
        (file,) = tmp_path.glob(pattern)
        assert b"validation/loss" in file.read_bytes()
