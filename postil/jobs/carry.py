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
from postil.store import publish, read_json, sha256, temporary_directory, write_bytes
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
    for name in LAID_OUT:
        write_bytes(run / "data" / name, (plan / "data" / name).read_bytes())
    _copy_course(earlier, run)
    damaged: list[Event] = []
    step = 0
    for found in _checkpoints(earlier):
        if _copied(found, run / "checkpoints" / found.name):
            step = int(found.name.removeprefix("step-"))
            _copy("metrics.jsonl", found.parents[1], run)
            break
        damaged.append(Event("message", {"code": "checkpoint_broken", "name": found.name}, "warn"))
    write_bytes(run / "plan.json", (plan / "plan.json").read_bytes())  # last: then the run is laid out
    return step, damaged


def _is_laid_out(run: Path) -> bool:
    """Whether plan and data are there, and as they were written: a power cut or a hand may have changed them."""
    try:
        told = read_json(run / "plan.json")["data"]
        return all(sha256(run / "data" / name) == told[name.removesuffix(".jsonl")] for name in LAID_OUT)
    except (OSError, ValueError, LookupError, TypeError):
        return False


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


def _copy_course(earlier: Sequence[Path], run: Path) -> None:
    """What the newest attempt has decided on its way: it holds what those before it had."""
    newest = next((attempt / RUN for attempt in earlier if (attempt / RUN / "course.json").exists()), None)
    if newest is not None:
        _copy("course.json", newest, run)


def _copy(name: str, old: Path, run: Path) -> None:
    if (old / name).exists():
        write_bytes(run / name, (old / name).read_bytes())
