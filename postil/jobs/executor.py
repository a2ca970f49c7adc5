"""Where a job's process runs: the seam, this machine behind it, and a twin in memory for tests.

Truth stays in the database; what an executor knows can always be found out again. `launch` and `stop` may be called
twice and do a thing once; neither waits. `poll` tells what has become of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

Phase = Literal["starting", "running", "apart", "exited", "lost", "unknown"]


@dataclass(frozen=True)
class RunSpec:
    """One attempt at a job, the same for every executor.

    argv: after the Python interpreter; env: all that the process gets; run_uri: the attempt's directory.
    """

    run_id: str  # "<job id>:<attempt>"
    argv: tuple[str, ...]
    env: Mapping[str, str]
    run_uri: str
    cpus: float = 1.0
    gpus: float = 0.0
    memory_mb: int = 512
    nodes: int = 1
    procs_per_node: int = 1

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> RunSpec:
        return cls(**{**told, "argv": tuple(told["argv"])})


@dataclass(frozen=True)
class RunState:
    """What has become of a run. `code`: of its exit, if it is known; `signal`: what ended it.

    apart: it is, or was, where this executor cannot reach: only its files tell how it is.
    """

    phase: Phase
    code: int | None = None
    signal: int | None = None

    @property
    def over(self) -> bool:
        return self.phase in ("exited", "lost", "unknown")


@dataclass(frozen=True)
class Slot:
    """What a node has left for new runs, and what it has in all."""

    node: str
    cpus: float
    memory_mb: int
    gpus: float
    total_memory_mb: int
    runs: int
    total_gpus: float = 0.0

    def fits(self, memory_mb: int, cpus: float, gpus: float) -> bool:
        """Whether such a run may start here now. An empty node takes whatever its memory could ever hold."""
        if self.runs == 0:
            return memory_mb <= self.total_memory_mb and gpus <= self.gpus
        return memory_mb <= self.memory_mb and cpus <= self.cpus and gpus <= self.gpus


class Executor(Protocol):
    """Starts and ends the processes of attempts, somewhere."""

    def capacity(self) -> list[Slot]:
        """What is free now, by measurement."""

    def launch(self, spec: RunSpec) -> None:
        """Start the run, unless it was started before."""

    def poll(self, run_id: str) -> RunState:
        """What has become of it; `unknown` when it was never launched here."""

    def stop(self, run_id: str, grace_s: float) -> None:
        """Ask it to end, and end it after `grace_s` seconds, with all that it started. Does not wait."""

    def pulse(self, run_id: str) -> str:
        """What changes while its process computes or reads; empty when that is not known."""

    def reattach(self) -> list[str]:
        """After a restart: the runs that are still alive, now known again."""


@dataclass
class _Run:
    spec: RunSpec
    state: RunState = field(default_factory=lambda: RunState("running"))
    pulse: str = ""
    asked: list[float] = field(default_factory=list)


class InMemoryExecutor:
    """The twin: runs that do nothing until a test says what becomes of them. `others_mb`: memory that is not theirs."""

    def __init__(self, cpus: float = 2.0, memory_mb: int = 4096, gpus: float = 0.0, *, obeys: bool = True) -> None:
        self._cpus, self._memory_mb, self._gpus, self._obeys = cpus, memory_mb, gpus, obeys
        self.others_mb = 0
        self.runs: dict[str, _Run] = {}
        self.launched: list[str] = []

    def capacity(self) -> list[Slot]:
        alive = [run.spec for run in self.runs.values() if not run.state.over]
        free_mb = self._memory_mb - self.others_mb - sum(s.memory_mb for s in alive)
        return [
            Slot("memory", self._cpus - sum(s.cpus for s in alive), free_mb,
                 self._gpus - sum(s.gpus for s in alive), self._memory_mb, len(alive), self._gpus)
        ]  # fmt: skip

    def launch(self, spec: RunSpec) -> None:
        if spec.run_id not in self.runs:
            self.runs[spec.run_id] = _Run(spec)
            self.launched.append(spec.run_id)

    def poll(self, run_id: str) -> RunState:
        return self.runs[run_id].state if run_id in self.runs else RunState("unknown")

    def stop(self, run_id: str, grace_s: float) -> None:
        run = self.runs.get(run_id)
        if run is None or run.state.over:
            return
        run.asked.append(grace_s)
        if grace_s <= 0:
            run.state = RunState("exited", None, 9)
        elif self._obeys:
            run.state = RunState("exited", 0)

    def pulse(self, run_id: str) -> str:
        return self.runs[run_id].pulse if run_id in self.runs else ""

    def reattach(self) -> list[str]:
        return [run_id for run_id, run in self.runs.items() if not run.state.over]

    def exit(self, run_id: str, code: int | None = 0, signal: int | None = None) -> None:
        """The run ends."""
        self.runs[run_id].state = RunState("exited", code, signal)

    def work(self, run_id: str) -> None:
        """Its process computes, whether or not it says so."""
        self.runs[run_id].pulse += "."

    def lose(self, run_id: str) -> None:
        """Its node is gone."""
        self.runs[run_id].state = RunState("lost")
