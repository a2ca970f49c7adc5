"""A program for the tests: workers forked from one process that has loaded torch already, with faults where asked for.

`python -m tests.jobs.zygote` reads JSON lines {"argv", "env", "cwd", "log", "fault"} and answers each with the pid. The
workers are real processes with sessions of their own, which outlive this one; only their birth is quicker.

fault: null | {"sync": n, "action": a} | {"after": step, "action": a} | {"where": part of a name, "action": a}: at the
n-th fsync (or once that step is told, or at each fsync of such a file) the worker is killed ("kill"), stopped
("freeze"), gets an error ("full", "broken") from the disk, or may open no more files ("no handles") or take no more
memory ("no memory"). {"record": root, "journal": place}: what it does is recorded (see powercut.py).
{"read only": part of a name}: such files cannot be opened for writing. {"clock": true}: its clock jumps.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from postil import settings

settings.quiet()

import peft  # noqa: E402, F401 - loaded once, before any fork
import torch  # noqa: E402, F401
import transformers  # noqa: E402, F401

import postil.jobs.run  # noqa: E402
import postil.model.pair  # noqa: E402
import postil.train  # noqa: E402, F401
from postil.jobs import worker as program  # noqa: E402
from tests.jobs.powercut import Recorder  # noqa: E402


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
        if arguments[:2] == ["-m", "postil.jobs.worker"]:
            code = program.main(arguments[2:])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def arm(fault: Mapping[str, Any]) -> None:
    """Let the fault happen when its moment comes."""
    if "record" in fault:
        Recorder(Path(fault["record"]), Path(fault["journal"]))
    elif "read only" in fault:
        only_read(fault["read only"])
    elif "clock" in fault:
        jump()
    else:
        at_sync(fault)


def at_sync(fault: Mapping[str, Any]) -> None:
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


def only_read(part: str) -> None:
    real = os.open

    def opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and part in os.fspath(path):
            raise OSError(errno.EROFS, "Read-only file system", path)
        return real(path, flags, *more, **named)

    os.open = opened


def jump() -> None:
    """Each look at the clock is a year later, a day earlier or five minutes later than it should be."""
    real, looks = time.time, [0]

    def jumping() -> float:
        looks[0] += 1
        return real() + (365 * 86_400, -86_400, 300 * looks[0])[looks[0] % 3]

    time.time = jumping


def happen(action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    elif action == "broken":
        raise OSError(errno.EIO, "Input/output error")
    elif action == "no handles":
        used = max(int(one.name) for one in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
    elif action == "no memory":
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken, taken))


if __name__ == "__main__":
    main()
