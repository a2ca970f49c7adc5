"""The executor of this machine: one process for each run, in a session of its own, which outlives the server.

What it has started stands in `process.json` of the attempt's directory: pid, start time and run id. The three together
name a process for good; a pid alone is used again. A run of another machine that shares the directory cannot be polled
or signalled from here: it is `apart`, and its own files say how it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from postil.child import Limit, TookTooLong, run
from postil.jobs import processes
from postil.jobs.executor import RunSpec, RunState, Slot
from postil.plan import machine
from postil.settings import for_worker
from postil.store import read_json, write_json

RECORD = "process.json"
LOG = "log.txt"


class LocalExecutor:
    """Runs below `directory`, each in the directory of its attempt."""

    def __init__(self, directory: Path, cpus: float | None = None) -> None:
        self._directory, self._cpus = directory, cpus
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._records: dict[str, dict[str, Any]] = {}
        self._deadlines: dict[str, float] = {}

    def capacity(self) -> list[Slot]:
        here = machine(self._directory if self._directory.exists() else None)
        with self._lock:
            alive = [record for record in self._records.values() if processes.is_alive(record)]
        specs = [record["spec"] for record in alive]
        promised = sum(max(0, s["memory_mb"] - processes.resident_mb(r)) for s, r in zip(specs, alive, strict=True))
        cpus = self._cpus or here.cores
        gpus = len(cards())
        return [
            Slot("local", cpus - sum(s["cpus"] for s in specs), here.free_bytes // processes.MB - promised,
                 gpus - sum(s["gpus"] for s in specs), here.memory_bytes // processes.MB, len(alive), gpus)
        ]  # fmt: skip

    def launch(self, spec: RunSpec) -> None:
        place = Path(spec.run_uri)
        with self._lock:
            if spec.run_id in self._records or self._read(place, spec.run_id):
                return
            env = {**spec.env, **({"CUDA_VISIBLE_DEVICES": self._free_gpu()} if spec.gpus else {})}
            child, pid = self._start(spec, env, place)
            gpu = env["CUDA_VISIBLE_DEVICES"] if spec.gpus else None
            silent = {**spec.as_json(), "env": {}}  # a proxy's or an index's password may stand in it
            record = {"run_id": spec.run_id, **processes.name_of(pid), "spec": silent, "gpu": gpu}
            if child is not None:
                self._children[spec.run_id] = child
            self._records[spec.run_id] = record
            write_json(place / RECORD, record)

    def _start(self, spec: RunSpec, env: Mapping[str, str], place: Path) -> tuple[subprocess.Popen[bytes] | None, int]:
        """A new process: itself, if it is a child of ours, and its number."""
        with (place / LOG).open("ab") as log:
            child = subprocess.Popen([sys.executable, *spec.argv], env=dict(env), stdin=subprocess.DEVNULL, stdout=log,
                                     stderr=log, cwd=place, **_APART)  # fmt: skip
        return child, child.pid

    def poll(self, run_id: str) -> RunState:
        with self._lock:
            record = self._records.get(run_id)
            if record is None:
                return RunState("unknown")
            if not processes.is_near(record):
                return RunState("apart")
            child = self._children.get(run_id)
            ended = child.poll() is not None if child else not processes.is_alive(record)
            if not ended:
                if time.monotonic() >= self._deadlines.get(run_id, float("inf")):
                    processes.kill(record)
                return RunState("running")
            processes.kill(record)  # what it may have left behind
            code = child.returncode if child else None
        return RunState("exited", None, -code) if code is not None and code < 0 else RunState("exited", code)

    def stop(self, run_id: str, grace_s: float) -> None:
        with self._lock:
            record = self._records.get(run_id)
            if record is None or not processes.is_alive(record):
                return
            if grace_s <= 0:
                processes.kill(record)
                return
            if run_id not in self._deadlines:
                with suppress(psutil.Error):  # it went by itself
                    psutil.Process(record["pid"]).terminate()
            deadline = time.monotonic() + grace_s
            self._deadlines[run_id] = min(deadline, self._deadlines.get(run_id, deadline))

    def pulse(self, run_id: str) -> str:
        with self._lock:
            record = self._records.get(run_id)
        return processes.pulse(record) if record and processes.is_near(record) else ""

    def reattach(self) -> list[str]:
        with self._lock:
            for place in self._directory.iterdir() if self._directory.exists() else ():
                with suppress(FileNotFoundError, NotADirectoryError):  # another server may be tidying up
                    for file in place.glob(f"attempt-*/{RECORD}"):
                        self._read(file.parent)
            return [run_id for run_id, record in self._records.items() if processes.is_alive(record)]

    def _read(self, place: Path, run_id: str | None = None) -> bool:
        """Take up what is written in an attempt's directory, also of a run that has ended."""
        try:
            record = read_json(place / RECORD)
        except (OSError, ValueError):
            return False
        if run_id is not None and record["run_id"] != run_id:
            return False
        self._records.setdefault(record["run_id"], record)
        return True

    def _free_gpu(self) -> str:
        taken = {record.get("gpu") for record in self._records.values() if processes.is_alive(record)}
        return next((card for card in cards() if card not in taken), "")


# a session of its own: a signal to the server's group does not reach it, and its own group can be ended as a whole
_APART: dict[str, Any] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)} if os.name == "nt"
    else {"start_new_session": True}
)  # fmt: skip


# where drivers of GPUs show themselves: NVIDIA's, the same under WSL, AMD's
SIGNS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
COUNT = "import torch; print(torch.cuda.device_count())"
COUNT_SECONDS = 600  # of a machine that has much else to do; where none is counted, none is used


@lru_cache(maxsize=1)
def cards() -> tuple[str, ...]:
    """The GPUs that runs may have, as CUDA_VISIBLE_DEVICES names them: those that torch sees, as a run will.

    It is asked once, in a process of its own and only where there may be some: that takes seconds and memory.
    """
    if not any(Path(sign).exists() for sign in SIGNS) and shutil.which("nvidia-smi") is None:
        return ()
    env = for_worker()
    try:
        count = int(run([sys.executable, "-c", COUNT], Limit(COUNT_SECONDS), env=env).stdout)
    except (OSError, ValueError, TookTooLong):
        return ()
    visible = env.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else map(str, range(count))
    return tuple(name.strip() for name in names)[:count]
