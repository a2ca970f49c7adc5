"""The order of the rows and the learning rate are pure functions of the update."""

from collections import Counter
from itertools import pairwise, product

import pytest

from postil.model.layout import lay_out, weight_of
from postil.model.template import Tokens
from postil.train.batches import Schedule
from tests.models import plan


@pytest.mark.parametrize(("n", "size"), [(10, 4), (8, 4), (1, 8), (7, 1)])
def test_every_example_comes_once_an_epoch(n, size):
    schedule = Schedule(n, plan(batch_size=size, n_epochs=3))
    assert schedule.total == 3 * schedule.per_epoch
    for epoch in range(3):
        updates = [schedule.rows(epoch * schedule.per_epoch + i) for i in range(schedule.per_epoch)]
        assert Counter(row for rows in updates for row in rows) == Counter(range(n))
        assert all(1 <= len(rows) <= size for rows in updates)


def test_the_order_depends_on_seed_and_epoch_alone():
    first, again, other = (Schedule(50, plan(batch_size=50, seed=seed)) for seed in (1, 1, 2))
    assert first.rows(0) == again.rows(0) != first.rows(1)
    assert first.rows(0) != other.rows(0)
    assert Schedule(50, plan(batch_size=10, seed=1)).rows(0) == first.rows(0)[:10]
    # written down, so that a checkpoint of today is understood tomorrow
    assert Schedule(8, plan(batch_size=8, seed=42)).rows(0) == [4, 7, 6, 2, 0, 3, 5, 1]


def test_the_learning_rate_rises_then_falls():
    schedule = Schedule(100, plan(batch_size=10, n_epochs=4, warmup_ratio=0.1))
    rates = [schedule.learning_rate(i, 1.0) for i in range(schedule.total)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert all(a >= b > 0 for a, b in pairwise(rates[4:]))
    assert rates[-1] == pytest.approx(1 / 36)


def test_other_schedules():
    constant, cosine = (Schedule(100, plan(batch_size=10, n_epochs=4, warmup_ratio=0.0, lr_scheduler=name))
                        for name in ("constant", "cosine"))  # fmt: skip
    assert {constant.learning_rate(i, 0.5) for i in range(40)} == {0.5}
    assert cosine.learning_rate(0, 1.0) == 1.0 and cosine.learning_rate(20, 1.0) == pytest.approx(0.5)
    assert 0 < cosine.learning_rate(39, 1.0) < 0.01


def test_a_run_of_one_update_learns_at_the_full_rate():
    assert Schedule(3, plan(batch_size=8, n_epochs=1)).learning_rate(0, 0.01) == 0.01


def test_how_rows_are_grouped_changes_neither_their_number_nor_their_weight():
    rows = [Tokens((1,) * n, (0.0,) * (n - 3) + (1.0,) * 3, ()) for n in (5, 9, 30, 12, 4)]
    for most, packed in product((64, 1000), (True, False)):
        made = list(lay_out(rows, most, packed=packed))
        assert sum(float(batch.weights.sum()) for _, batch in made) == sum(map(weight_of, rows)) == 15
        assert sorted(i for group, _ in made for i in group) == list(range(5))
    assert sum(weight_of(row, 0.5) for row in rows) == 15 + 0.5 * (60 - 15 - 5)
