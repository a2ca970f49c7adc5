"""What an attempt takes over from those before it.

Attempts share nothing but through copies: an earlier worker that was believed dead may still write, or remove its
oldest checkpoint, in its own directory. What is copied is held against its manifest, and the newest that is whole is
taken, whichever attempt it is from.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from postil.jobs.attempt import RUN
from postil.records import Event
from postil.store import publish, temporary_directory
from postil.train import whole

LAID_OUT = ("training.jsonl", "validation.jsonl", "test.jsonl")


def carry(directory: Path, earlier: Sequence[Path]) -> tuple[int, list[Event]]:
    """Fill the run of `directory` from `earlier` attempts, newest first. Returns the step that it goes on from.

    0 with a plan and data but without a checkpoint, -1 when not even a plan was found. The events tell of checkpoints
    that are damaged.
    """
    run = directory / RUN
    plan = next((one / RUN for one in earlier if _is_laid_out(one / RUN)), None)
    if plan is None:
        return -1, []
    (run / "data").mkdir(parents=True, exist_ok=True)
    for file in (plan / "data").iterdir():
        shutil.copy2(file, run / "data" / file.name)
    damaged: list[Event] = []
    step = 0
    for found in _checkpoints(earlier):
        if _copied(found, run / "checkpoints" / found.name):
            step = int(found.name.removeprefix("step-"))
            _copy_metrics(found.parents[1], run)
            break
        damaged.append(Event("message", {"code": "checkpoint_broken", "name": found.name}, "warn"))
    shutil.copy2(plan / "plan.json", run / "plan.json")  # last: a run is laid out when its plan is there
    return step, damaged


def _is_laid_out(run: Path) -> bool:
    return (run / "plan.json").exists() and all((run / "data" / name).exists() for name in LAID_OUT)


def _checkpoints(earlier: Sequence[Path]) -> Iterator[Path]:
    """All of them, the highest step first, and of the same step the newest attempt's first."""
    found = [(path.name, -place, path) for place, one in enumerate(earlier)
             for path in (one / RUN / "checkpoints").glob("step-*")]  # fmt: skip
    for _name, _place, path in sorted(found, reverse=True):
        yield path


def _copied(source: Path, final: Path) -> bool:
    """Copy a checkpoint; False when it is not whole, or went while it was copied."""
    with temporary_directory(final) as made:
        try:
            shutil.copytree(source, made, dirs_exist_ok=True)
        except (shutil.Error, FileNotFoundError):
            return False
        if not whole(made):
            return False
        publish(made, final)
    return True


def _copy_metrics(old: Path, run: Path) -> None:
    if (old / "metrics.jsonl").exists():
        shutil.copy2(old / "metrics.jsonl", run / "metrics.jsonl")
