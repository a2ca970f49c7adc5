"""What a run tells: its stages are timed apart, over all attempts, and its numbers are kept."""

from __future__ import annotations

import json
from pathlib import Path

from postil.records import Event
from postil.train.progress import Progress


def progress(directory: Path) -> tuple[Progress, list[Event]]:
    events: list[Event] = []
    return Progress(directory, events.append, 0.0, writes=True), events


def test_a_timed_stage_is_told_and_counted(tmp_path: Path) -> None:
    one, events = progress(tmp_path)
    for _ in range(2):
        with one.timed("probe"):
            pass
    assert [event.data["what"] for event in events if event.type == "timed"] == ["probe", "probe"]
    assert set(one.stages) == {"probe"} and one.stages["probe"] >= sum(event.data["seconds"] for event in events) - 0.01


def test_the_stages_of_earlier_attempts_are_added(tmp_path: Path) -> None:
    one, _ = progress(tmp_path)
    one.stages = {"load": 2.0}
    one.go_on(7, 50.0, {"load": 3.0, "probe": 20.0})
    assert one.stages == {"load": 5.0, "probe": 20.0} and one.seconds >= 50.0


def test_time_left_is_that_of_the_updates_and_of_what_comes_afterwards(tmp_path: Path) -> None:
    events: list[Event] = []
    one = Progress(tmp_path, events.append, 0.0, writes=True, afterwards=30.0)
    one.go_on(0, 40.0, {"load": 5.0, "probe": 16.0, "base_loss": 4.0})  # 20 s of training
    one.step(2, 8, {"loss": 1.0})
    one.step(8, 8, {"loss": 1.0})
    left = [event.data["seconds_left"] for event in events]
    assert 90.0 <= left[0] < 93.0 and left[1] == 30.0


def test_lines_beyond_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    one, events = progress(tmp_path)
    for step in (1, 2, 3):
        one.step(step, 3, {"loss": 1.0 / step, "validation_loss": None, "learning_rate": float("inf")})
    one.go_on(2, 1.0)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and all(set(line) == {"step", "loss"} for line in lines)
    assert [event.data["percent"] for event in events] == sorted(event.data["percent"] for event in events)
