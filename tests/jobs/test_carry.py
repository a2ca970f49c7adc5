"""What a new attempt takes over: also what an earlier one has decided on its way, so that it ends in the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

from postil.jobs.attempt import RUN
from postil.jobs.carry import carry
from postil.store import sha256
from postil.train.course import Course, Turn


def attempt(directory: Path, *turns: Turn) -> Path:
    """An attempt with a plan, data and a course, but no checkpoint."""
    run = directory / RUN
    (run / "data").mkdir(parents=True)
    for part in ("training", "validation", "test"):
        (run / "data" / f"{part}.jsonl").write_text("{}\n", "utf-8")
    hashes = {part: sha256(run / "data" / f"{part}.jsonl") for part in ("training", "validation", "test")}
    (run / "plan.json").write_text(json.dumps({"data": hashes}), "utf-8")
    course = Course(run)
    for turn in turns:
        course.take(turn)
    return directory


def test_the_newest_course_is_taken_over_even_where_no_checkpoint_is_whole(tmp_path: Path) -> None:
    first = attempt(tmp_path / "attempt-1", Turn(3, updates=20))
    second = attempt(tmp_path / "attempt-2", Turn(3, updates=20), Turn(9, threads=2))
    assert carry(tmp_path / "attempt-3", [second, first]) == (0, [])
    assert Course(tmp_path / "attempt-3" / RUN).turns == [Turn(3, updates=20), Turn(9, threads=2)]


def test_where_nothing_was_decided_there_is_no_course(tmp_path: Path) -> None:
    assert carry(tmp_path / "attempt-2", [attempt(tmp_path / "attempt-1")]) == (0, [])
    assert not (tmp_path / "attempt-2" / RUN / "course.json").exists()
