"""A program for the tests: train a laid-out run, killed as often as it is told, and resumed each time.

`python -m tests.train.killed` reads JSON lines {"directory", "at": [...]} and writes one JSON line for each: how many
kills struck, and the steps that the runs had reached. An entry of `at` is a step after which the process is killed, or
{"sync": n}: at its n-th fsync, in the middle of writing a checkpoint or the result. Each attempt is a process of its
own, forked from this one so that torch is loaded once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from postil import settings

settings.quiet()

import torch  # noqa: E402, F401 - loaded once, before any fork

from postil.train import run  # noqa: E402


def main() -> None:
    chance = random.Random(7)
    for line in sys.stdin:
        order = json.loads(line)
        directory = Path(order["directory"])
        struck = [attempt(directory, at, chance) for at in order["at"]]
        last = attempt(directory, None, chance)
        print(json.dumps({"kills": struck.count(-signal.SIGKILL), "end": last}), flush=True)


def attempt(directory: Path, at: Any, chance: random.Random) -> int:
    """Train to the end, or to the kill that `at` asks for. Returns the exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        train(directory, at)
    if isinstance(at, int):
        while last_step(directory) < at:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        time.sleep(chance.random() * 0.02)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(directory: Path, at: Any) -> None:
    code = 1
    try:
        if isinstance(at, dict):
            die_at_sync(at["sync"])
        run(directory, lambda event: None)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def die_at_sync(count: int) -> None:
    """Let the `count`-th fsync from here on be the last thing that this process does."""
    real, left = os.fsync, [count]

    def sync(handle: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)

    os.fsync = sync


def last_step(directory: Path) -> int:
    """The last update that the run has written down; -1 before the first."""
    try:
        lines = (directory / "metrics.jsonl").read_text("utf-8").splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, ValueError, IndexError):
        return -1


if __name__ == "__main__":
    main()
