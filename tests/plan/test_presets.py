import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.errors import PlanError
from postil.locales import knows
from postil.plan.presets import preset, presets, split_sizes, training_rows
from postil.records import Plan


@pytest.mark.parametrize(("n", "sizes"), [
    (10, (2, 2)), (30, (3, 6)), (99, (10, 20)), (100, (20, 20)), (300, (30, 30)), (1000, (100, 100)),
    (2500, (250, 250)), (100_000, (250, 250)),
])  # fmt: skip
def test_the_parts_of_a_split_follow_the_rule(n, sizes):
    assert split_sizes(n) == sizes


@pytest.mark.parametrize(("n", "sizes"), [(300, (30, 50)), (1000, (30, 50)), (100, (10, 20)), (20, (2, 4))])
def test_a_quick_try_holds_out_30_and_50_rows_where_there_are_enough(n, sizes):
    assert split_sizes(n, "quick_try") == sizes


@given(st.integers(10, 300_000), st.sampled_from([None, *presets()]))
def test_most_rows_are_always_trained_on(n, name):
    validation, test = split_sizes(n, name)
    assert validation >= 2 and test >= 2
    assert n - validation - test >= n // 2


def test_wishes_win():
    assert split_sizes(300, "quick_try", {"test_rows": 20}) == (30, 20)
    assert split_sizes(300, None, {"validation_rows": 0, "test_rows": 0}) == (0, 0)


def test_wishes_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(PlanError) as refused:
        split_sizes(30, None, {"test_rows": 29})
    assert refused.value.code == "held_out_too_many"


@pytest.mark.parametrize("name", presets())
def test_a_preset_fits_the_plan_and_gives_a_reason_for_each_value(name):
    chosen = preset(name)
    assert chosen is not None
    Plan(**chosen.plan)
    assert all(knows(f"reason.preset_{name}_{field}") for field in chosen.plan)
    assert knows(f"preset.{name}")


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(PlanError) as refused:
        preset("quicktry")
    assert refused.value.values["close"] == "quick_try"


def test_only_a_quick_try_limits_what_is_trained_on_unless_one_wishes_so():
    assert training_rows() == training_rows("small_data") == 0
    assert training_rows("quick_try") == 200
    assert training_rows("quick_try", {"training_rows": 50}) == 50
