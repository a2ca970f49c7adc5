"""A run's numbers for the programs that draw curves: TensorBoard's files by default, others where they are switched on.

None of them may break or change a run: what one raises is told once, and the run goes on without it. Whenever a run
begins or goes on, each begins anew with the lines that count, so that no step is told twice. All write into the run's
directory alone, and none speaks to a network: `wandb sync`, `swanlab sync` or `mlflow ui` take it from there.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any, Protocol

from postil.extras import has
from postil.records import Plan
from postil.settings import Settings
from postil.store import read_json, write_json

ORDERED = Path("data", "trackers.json")  # what the order of a job asks for, beside the machine's settings
FLUSH_SECONDS = 5.0
FAULTS = (OSError, ValueError, TypeError, RuntimeError, LookupError, ImportError, AttributeError)
PLACES = {"loss": "train/loss", "validation_loss": "validation/loss"}  # others: train/<name>


class Tracker(Protocol):
    """One program that keeps numbers."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of one update by their place: train/loss, validation/loss, train/learning_rate, ..."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Label:
    """How the run is called there."""

    project: str
    name: str
    plan: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


# ── the programs ──


class TensorBoard:
    """One event file, written in this thread: the writer's own thread would hang when the disk is full."""

    def __init__(self, place: Path, label: Label) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        self._file = EventsWriter(str(place / "events"))
        self._flushed = time.monotonic()

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._file.write_event(Event(step=step, wall_time=time.time(), summary=Summary(value=values)))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        self._file.close()


class Wandb:
    """Weights & Biases, offline: `wandb sync` sends what lies there."""

    def __init__(self, place: Path, label: Label) -> None:
        import wandb

        how = wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True,
                             save_code=False)  # fmt: skip
        self._run = wandb.init(mode="offline", dir=str(place), project=label.project, name=label.name,
                               config=dict(label.plan), tags=list(label.tags) or None, settings=how)  # fmt: skip

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


class SwanLab:
    """SwanLab, offline: `swanlab sync` sends what lies there."""

    def __init__(self, place: Path, label: Label) -> None:
        import swanlab

        quiet = swanlab.Settings.Probe(hardware=False, runtime=False, requirements=False, git=False, monitor=False)
        how = swanlab.Settings(interactive=False, terminal=swanlab.Settings.Terminal(proxy_type="none"), probe=quiet)
        self._run = swanlab.init(mode="offline", log_dir=str(place), project=label.project, name=label.name,
                                 config=dict(label.plan), tags=list(label.tags), settings=how)  # fmt: skip

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """MLflow with a database file of its own, new each time: it may still hold an older one open.

    `mlflow ui --backend-store-uri sqlite:///.../mlflow/NUMBER.db` shows it.
    """

    def __init__(self, place: Path, label: Label) -> None:
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        file = (place / f"{time.time_ns()}.db").resolve()
        self._client = MlflowClient(tracking_uri=f"sqlite:///{file.as_posix()}")
        experiment = self._client.create_experiment(label.project, (place / "artifacts").resolve().as_uri())
        tags = {f"tag.{i}": tag for i, tag in enumerate(label.tags)}
        self._run: str = self._client.create_run(experiment, run_name=label.name, tags=tags).info.run_id
        for name, value in label.plan.items():
            self._client.log_param(self._run, name, str(value)[:500])

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in numbers.items()])

    def close(self) -> None:
        self._client.set_terminated(self._run)


def _wandb_faults() -> tuple[type[Exception], ...]:
    import wandb

    return (wandb.Error,)


def _swanlab_faults() -> tuple[type[Exception], ...]:
    from swanlab.exceptions import AuthenticationError, DataStoreError

    return (AuthenticationError, DataStoreError)


def _mlflow_faults() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException

    return (MlflowException,)


@dataclass(frozen=True)
class Kind:
    """open: (an empty directory, how the run is called) -> the tracker; faults: what only this program raises."""

    package: str
    open: Callable[[Path, Label], Tracker]
    faults: Callable[[], tuple[type[Exception], ...]] = tuple


KINDS: Mapping[str, Kind] = {
    "tensorboard": Kind("tensorboardX", TensorBoard),
    "wandb": Kind("wandb", Wandb, _wandb_faults),
    "swanlab": Kind("swanlab", SwanLab, _swanlab_faults),
    "mlflow": Kind("mlflow", MLflow, _mlflow_faults),
}


# ── all of them ──


def order_trackers(directory: Path, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """What a job's order asks for: {"wandb": {"project", "name", "tags"}}. It counts beside the machine's settings."""
    write_json(directory / ORDERED, wanted)


class Trackers:
    """All that a run in `directory` tells its numbers to. tell: of what does not work, as `Progress.tell`."""

    def __init__(self, directory: Path, plan: Plan, tell: Callable[..., None]) -> None:
        self._directory, self._plan, self._tell = directory, plan, tell
        self._open: dict[str, Tracker] = {}

    def begin(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Anew, with the lines of metrics.jsonl that count."""
        self.close()
        wanted, ordered = switched_on(Settings().trackers), self._ordered()
        for name in dict.fromkeys([*wanted, *ordered]):
            if name not in KINDS:
                self._tell("tracker_unknown", level="warn", name=name, known=", ".join(KINDS))
            elif not has(KINDS[name].package):
                self._tell("tracker_missing", level="warn", name=name, package=KINDS[name].package)
            else:
                self._begin(name, lines, ordered.get(name, {}))

    def _begin(self, name: str, lines: Sequence[Mapping[str, Any]], ordered: Mapping[str, Any]) -> None:
        plan = {key: value for key, value in self._plan.model_dump().items() if value is not None}
        label = Label(str(ordered.get("project") or Settings().tracker_project),
                      str(ordered.get("name") or self._directory.resolve().name), plan,
                      tuple(ordered.get("tags") or ()))  # fmt: skip
        with self._guarded(name):
            place = self._directory / name
            rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            self._open[name] = KINDS[name].open(place, label)
            for line in lines:
                self._open[name].log(int(line["step"]), _placed(line))

    def log(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Numbers of a finished update, by the names of metrics.jsonl."""
        for name in list(self._open):
            with self._guarded(name):
                self._open[name].log(step, _placed(numbers))

    def close(self) -> None:
        for name in list(self._open):
            with self._guarded(name):
                self._open.pop(name).close()

    def _ordered(self) -> dict[str, Mapping[str, Any]]:
        try:
            return dict(read_json(self._directory / ORDERED))
        except (OSError, ValueError, TypeError):
            return {}

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """What a tracker raises ends it and nothing else; what it prints is nobody's output."""
        faults: tuple[type[Exception], ...] = (*FAULTS, *_faults(name))
        try:
            with redirect_stdout(io.StringIO()):
                yield
        except faults as error:
            self._open.pop(name, None)
            reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
            self._tell("tracker_failed", level="warn", name=name, reason=reason)


def switched_on(text: str) -> list[str]:
    """The trackers that POSTIL_TRACKERS means: TensorBoard and those that are named, or with "none" none."""
    named = [name.strip().lower() for name in text.split(",") if name.strip()]
    return [] if named == ["none"] else list(dict.fromkeys(["tensorboard", *named]))


def _faults(name: str) -> tuple[type[Exception], ...]:
    try:
        return KINDS[name].faults()
    except (ImportError, AttributeError):
        return ()


def _placed(numbers: Mapping[str, Any]) -> dict[str, float]:
    return {PLACES.get(name, f"train/{name}"): float(value) for name, value in numbers.items() if name != "step"}
