"""A program for the tests: workers forked from one process that has loaded torch already, with faults where asked for.

`python -m tests.jobs.zygote` reads JSON lines {"argv", "env", "cwd", "log", "fault"} and answers each with the pid. The
workers are real processes with sessions of their own, which outlive this one; only their birth is quicker.

fault: null | {"sync": n, "action": a} | {"after": step, "action": a}: at the n-th fsync (or once that step is told)
the worker is killed ("kill"), stopped ("freeze") or gets an error ("full", "broken") from the disk.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from postil import settings

settings.quiet()

import peft  # noqa: E402, F401 - loaded once, before any fork
import torch  # noqa: E402, F401
import transformers  # noqa: E402, F401

import postil.model.pair  # noqa: E402
import postil.train  # noqa: E402, F401
from postil.jobs import LocalExecutor, RunSpec  # noqa: E402
from postil.jobs import run as program  # noqa: E402


class Forked(LocalExecutor):
    """The executor of this machine, but its processes are forked from a prepared one. `faults`: by run id."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, cpus=2.0)
        self.faults: Callable[[str], Mapping[str, Any] | None] = lambda run_id: None
        self._zygote: subprocess.Popen[str] | None = None

    def _start(self, spec: RunSpec, env: Mapping[str, str], place: Path) -> tuple[None, int]:
        if self._zygote is None:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.jobs.zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                cwd=Path(__file__).parents[2],
            )  # fmt: skip
        assert self._zygote.stdin is not None and self._zygote.stdout is not None
        order = {"argv": spec.argv, "env": dict(env), "cwd": str(place), "log": str(place / "log.txt"),
                 "fault": self.faults(spec.run_id)}  # fmt: skip
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        return None, int(self._zygote.stdout.readline())

    def close(self) -> None:
        if self._zygote is not None:
            self._zygote.kill()
            self._zygote.wait()
            self._zygote.stdin.close()  # type: ignore[union-attr]
            self._zygote.stdout.close()  # type: ignore[union-attr]


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they leave no entry behind
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            work(order)
        print(child, flush=True)


def work(order: dict[str, Any]) -> None:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.chdir(order["cwd"])
        log = os.open(order["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(order["env"])
        if order["fault"]:
            arm(order["fault"])
        arguments = order["argv"]
        if arguments[:2] == ["-m", "postil.jobs.run"]:
            code = program.main(arguments[2:])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def arm(fault: Mapping[str, Any]) -> None:
    """Let the fault happen when its moment comes."""
    real, seen = os.fsync, [0]

    def sync(handle: int) -> None:
        seen[0] += 1
        named = str(Path(f"/proc/self/fd/{handle}").readlink())
        if seen[0] == fault.get("sync") or (fault.get("where") in named if fault.get("where") else False):
            happen(fault["action"])
        real(handle)
        if (
            "after" in fault
            and named.endswith("events.jsonl")
            and f'"step": {fault["after"]},' in Path(named).read_text()
        ):
            happen(fault["action"])

    os.fsync = sync


def happen(action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    elif action == "broken":
        raise OSError(errno.EIO, "Input/output error")


if __name__ == "__main__":
    main()
