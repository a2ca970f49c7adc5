"""What a run decides by the clock is written before it acts; a resumed run does the same at the same updates."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from postil.errors import TrainError
from postil.model.adapt import attach
from postil.records import Event
from postil.settings import Ranks
from postil.train.batches import Schedule
from postil.train.checkpoint import latest
from postil.train.course import COURSE, Course, Turn, read_cuts
from postil.train.crew import Crew
from postil.train.helm import Helm
from postil.train.loop import SAVE_SECONDS, Loop
from postil.train.objectives.causal_lm import CausalLM
from postil.train.pace import Budget, Pace
from postil.train.progress import Progress
from tests.models import opened, plan, titles

UPDATES = 24


class Clock:
    """Stands still but for an update, which takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds

    def __call__(self) -> float:
        return self.now


class Alone:
    def cores(self) -> float:
        return 0.0


class Scene:
    """Loops on fresh adapters over one directory, each by its own clock."""

    def __init__(self, base: Path, directory: Path) -> None:
        self.base, self.directory = base, directory
        self.events: list[Event] = []

    def loop(self, clock: Clock, budget: Budget, *, crew: bool = False, stop: Callable[[], bool] = lambda: False,
             **values: Any) -> Loop:  # fmt: skip
        chosen = plan(
            **{"n_epochs": 6, "batch_size": 4, "learning_rate": 3e-3, "save_steps": 5, "patience": 99, **values}
        )
        loaded = opened(self.base)
        rows = [loaded.template.sequences(example) for example in titles(20)]
        model = attach(loaded.model, chosen, "tiny")
        self.directory.mkdir(parents=True, exist_ok=True)
        progress = Progress(self.directory, self.events.append, 0.5, writes=True, clock=clock)
        helm = Helm(Schedule(16, chosen), Course(self.directory), Pace(budget, clock),
                    Crew(1, 2, Alone(), clock) if crew else None, progress)  # fmt: skip
        loop = Loop(CausalLM(model, chosen), chosen, rows[:16], rows[16:], self.directory, progress, stop,
                    Ranks(0, 0, 1), helm=helm, clock=clock)  # fmt: skip
        update = loop._learner.update

        def timed(*given: Any) -> float:
            clock.now += clock.seconds
            return update(*given)

        loop._learner.update = timed  # type: ignore[method-assign]
        return loop

    def codes(self) -> list[str]:
        return [event.data["code"] for event in self.events if event.type == "message"]


@pytest.fixture
def scene(base: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Scene]:
    return lambda name: Scene(base("qwen2"), tmp_path / name)


SLOW = Budget(update=2.0, limit=140.0)  # where the clock says 7 seconds for an update


def weights(directory: Path) -> dict[str, torch.Tensor]:
    saved, _ = latest(directory / "checkpoints")
    assert saved is not None
    return saved.weights


def test_a_job_with_a_limit_ends_sooner_and_its_rate_falls_to_nothing_by_then(scene: Callable[[str], Scene]) -> None:
    slow = scene("a")
    loop = slow.loop(Clock(7.0), SLOW)
    position, _ = loop.run()
    cuts = read_cuts(slow.directory)
    assert position.step == cuts[-1][1] < UPDATES
    assert {"pace_slower_limited", "shortened"} <= set(slow.codes())
    assert loop._schedule.learning_rate(position.step, 1.0) == pytest.approx(0.0, abs=1e-9)
    last = [event.data for event in slow.events if event.type == "metrics"][-1]
    assert last["step"] == last["total_steps"] == position.step and last["validation_loss"]


def test_a_job_without_a_limit_goes_on_to_its_end_and_says_how_to_end_it(scene: Callable[[str], Scene]) -> None:
    slow = scene("a")
    assert slow.loop(Clock(7.0), Budget(update=2.0)).run()[0].step == UPDATES
    assert "pace_slower" in slow.codes() and not (slow.directory / COURSE).exists()
    (said,) = [event for event in slow.events if event.data.get("code") == "pace_slower"]
    assert said.level == "warn" and float(said.data["epochs"]) < float(said.data["of"])


@pytest.mark.parametrize("stopped_at", [2, 6, 8])
def test_cut_and_resumed_it_ends_in_the_same_bytes_whatever_the_clock_says_then(
    scene: Callable[[str], Scene], stopped_at: int
) -> None:
    whole, broken = scene("whole"), scene("broken")
    whole.loop(Clock(7.0), SLOW).run()
    looks = iter(range(1000))
    with pytest.raises(TrainError):
        broken.loop(Clock(7.0), SLOW, stop=lambda: next(looks) == stopped_at - 1).run()
    if stopped_at > 5:  # a kill before that stop: back to the checkpoint before it
        (broken.directory / "checkpoints" / f"step-{stopped_at:08d}" / "manifest.json").unlink()
    cuts = read_cuts(whole.directory)
    if read_cuts(broken.directory):  # the decision had been made: by a clock that would not make it
        broken.loop(Clock(0.0), Budget(update=2.0)).run()
        assert read_cuts(broken.directory) == cuts
        ours, theirs = weights(broken.directory), weights(whole.directory)
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    else:
        assert stopped_at < cuts[0][0]


def test_threads_that_were_tried_are_tried_again_at_the_same_updates(scene: Callable[[str], Scene]) -> None:
    before = torch.get_num_threads()
    whole = scene("whole")
    try:
        torch.set_num_threads(1)
        whole.loop(Clock(7.0), Budget(), crew=True).run()
        turns = Course(whole.directory).turns
        assert [turn.threads for turn in turns] == [2, 1] and "threads_more" in whole.codes()
        broken = scene("broken")
        looks = iter(range(1000))
        torch.set_num_threads(1)
        with pytest.raises(TrainError):
            broken.loop(Clock(7.0), Budget(), crew=True, stop=lambda: next(looks) == turns[0].step).run()
        assert Course(broken.directory).turns == turns[:1]
        torch.set_num_threads(1)
        broken.loop(Clock(7.0), Budget(), crew=True).run()
        assert torch.get_num_threads() >= 1 and Course(broken.directory).turns[:1] == turns[:1]
    finally:
        torch.set_num_threads(before)


def test_checkpoints_are_also_written_by_the_clock_and_their_number_is_bounded(
    scene: Callable[[str], Scene],
) -> None:
    slow = scene("a")
    slow.loop(Clock(SAVE_SECONDS), Budget(), save_steps=1000, save_total_limit=2).run()
    saved = [event.data["step"] for event in slow.events if event.type == "checkpoint"]
    assert saved == list(range(UPDATES + 1))
    assert len(list((slow.directory / "checkpoints").glob("step-*"))) == 2


def test_a_clock_that_stands_still_saves_only_at_the_updates_of_the_plan(scene: Callable[[str], Scene]) -> None:
    quiet = scene("a")
    quiet.loop(Clock(0.0), Budget(), save_steps=10).run()
    assert [event.data["step"] for event in quiet.events if event.type == "checkpoint"] == [0, 10, 20, 24]


def test_checkpoints_by_the_clock_change_no_byte(scene: Callable[[str], Scene]) -> None:
    often, seldom = scene("often"), scene("seldom")
    often.loop(Clock(SAVE_SECONDS), Budget()).run()
    seldom.loop(Clock(0.0), Budget()).run()
    ours, theirs = weights(often.directory), weights(seldom.directory)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_a_course_is_read_as_it_was_written(tmp_path: Path) -> None:
    course = Course(tmp_path)
    course.take(Turn(4, threads=2))
    course.take(Turn(9, updates=20))
    again = Course(tmp_path)
    assert again.turns == course.turns and again.cuts == ((9, 20),)
    assert again.until(8) == [Turn(4, threads=2)] and again.at(9) == [Turn(9, updates=20)]
    assert again.is_settled(9) and not again.is_settled(10) and not Course(tmp_path / "none").is_settled(0)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"turns": [{"step": "x"}]}', '{"turns": [{"leap": 3}]}', "null"])
def test_a_course_that_no_run_has_written_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / COURSE).write_text(content, "utf-8")
    with pytest.raises(TrainError) as refused:
        Course(tmp_path)
    assert refused.value.code == "data_changed"


def test_a_schedule_that_is_cut_once_and_again_falls_evenly() -> None:
    whole = Schedule(16, plan(n_epochs=10, batch_size=4, warmup_ratio=0.0))
    cut = Schedule(16, whole.plan, cuts=((10, 30), (20, 25)))
    assert (whole.total, cut.planned, cut.total) == (40, 40, 25)
    rates = [cut.learning_rate(update, 1.0) for update in range(26)]
    assert rates[:10] == [whole.learning_rate(update, 1.0) for update in range(10)]
    assert all(later < earlier for earlier, later in pairwise(rates)) and rates[25] == 0
    assert rates[20] == pytest.approx(0.75 * 0.5)


def test_the_file_is_plain(tmp_path: Path) -> None:
    Course(tmp_path).take(Turn(3, updates=12))
    assert json.loads((tmp_path / COURSE).read_text("utf-8")) == {"turns": [{"step": 3, "updates": 12, "threads": 0}]}
