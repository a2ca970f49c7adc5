"""States are compared by what the plan's metric counts; the loss decides where that is equal."""

from __future__ import annotations

import pytest
import torch

from postil.model.adapt import attach
from postil.settings import Ranks
from postil.train.grade import Grade
from postil.train.learner import Learner
from postil.train.objectives import objective
from tests.models import Build, opened, plan, titles


@pytest.mark.parametrize(
    ("one", "other", "better"),
    [
        (Grade(1.0), Grade(2.0), True),
        (Grade(2.0), Grade(1.0), False),
        (Grade(1.0), Grade(1.00005), False),
        (Grade(9.0, 0.6, 20), Grade(1.0, 0.5, 20), True),  # more is right, however sure of the wrong ones it is
        (Grade(1.0, 0.5, 20), Grade(9.0, 0.6, 20), False),
        (Grade(1.0, 0.5, 20), Grade(2.0, 0.5, 20), True),
        (Grade(2.0, 0.5, 20), Grade(1.0, 0.5, 20), False),
    ],
)
def test_more_right_answers_beat_a_lower_loss(one: Grade, other: Grade, better: bool) -> None:
    assert one.beats(other) is better


@pytest.mark.parametrize(
    ("now", "best", "behind"),
    [
        (Grade(2.0), Grade(1.0), True),
        (Grade(0.5), Grade(1.0), False),
        (Grade(9.0, 0.45, 20), Grade(1.0, 0.5, 20), False),  # one row of twenty is chance
        (Grade(1.0, 0.3, 20), Grade(1.0, 0.5, 20), True),
        (Grade(1.0, 0.48, 2000), Grade(1.0, 0.5, 2000), True),  # on many rows it is not
        (Grade(2.0, 0.0, 20), Grade(1.0, 0.0, 20), True),  # nothing is right yet: the loss tells
        (Grade(1.0, 1.0, 20), Grade(1.0, 1.0, 20), False),
    ],
)
def test_what_is_within_chance_does_not_count_against_it(now: Grade, best: Grade, behind: bool) -> None:
    assert now.falls_behind(best) is behind


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("metric", ["exact_match", "char_f1", "loss"])
def test_one_pass_tells_what_greedy_writing_would_say(base: Build, metric: str, packed: bool) -> None:
    """Against the likeliest tokens of each row alone, by the model's own logits."""
    chosen = plan(batch_size=4, learning_rate=2e-2, metric=metric)
    loaded = opened(base("qwen2"))
    model = attach(loaded.model, chosen, "tiny")
    learned = objective(model, chosen)
    rows = learned.sequences(titles(12), loaded.template)
    learner = Learner(learned, chosen, Ranks(0, 0, 1))
    for step in range(30):  # so that some are right and some are not
        learner.update(step, rows[:6], 2e-2)
    learner.packs = packed
    grade = learner.validation(rows)
    right: list[list[bool]] = []
    with torch.inference_mode():
        for (sequence,) in rows:
            likeliest = model(input_ids=torch.tensor([sequence.ids])).logits[0, :-1].argmax(-1).tolist()
            counted = zip(likeliest, sequence.ids[1:], sequence.weights[1:], strict=True)
            right.append([said == wanted for said, wanted, weight in counted if weight])
    if metric == "loss":
        assert grade.right is None and grade.counted == 0
    elif metric == "exact_match":
        assert (grade.right, grade.counted) == (sum(map(all, right)) / 12, 12)
        assert 0 < grade.right < 1
    else:
        assert grade.counted == sum(map(len, right))
        assert grade.right == pytest.approx(sum(map(sum, right)) / grade.counted)
