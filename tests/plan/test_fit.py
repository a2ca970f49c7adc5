"""What a job has no time for is left out, in a fixed order, and said."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from postil.plan.choose import choose
from postil.plan.estimate import estimate
from postil.plan.fit import AIM, FEWEST_TEST, FEWEST_UPDATES, FEWEST_VALIDATION, Change, fit, issues_of
from postil.records import Plan
from postil.settings import Settings
from tests.plan.test_choose import MACHINE, SMALL, TITLES, counts
from tests.plan.test_estimate import PROBE

COUNTS = counts(200, validation=30, test=50)
QUICK = choose(TITLES, COUNTS, SMALL, MACHINE, PROBE, "quick_try")[0]


def seconds(plan: Plan, slower: float = 1.0) -> float:
    """The middle of the estimate, on a machine so many times as slow as one that takes 5 ms for a token."""
    probe = replace(PROBE, step_seconds=6.0 * slower, generate_seconds=0.2 * slower)
    return sum(estimate(plan, COUNTS, SMALL, MACHINE, probe, Settings()).seconds) / 2


def fitted(slower: float, *fixed: str, plan: Plan = QUICK, left: float = 300.0) -> tuple[dict[str, Change], Plan]:
    changes = fit(plan, 200, left, lambda plan: seconds(plan, slower), fixed)
    return changes, plan.model_copy(update={name: change.after for name, change in changes.items()})


def test_where_all_fits_nothing_changes() -> None:
    assert fitted(0.1)[0] == {}


@pytest.mark.parametrize("slower", [1.0, 1.3, 1.5])
def test_what_is_left_fits_and_is_no_smaller_than_it_must_be(slower: float) -> None:
    changes, plan = fitted(slower)
    assert changes and seconds(plan, slower) <= AIM * 300
    assert plan.test_rows >= FEWEST_TEST and plan.validation_rows >= FEWEST_VALIDATION
    larger = plan.model_copy(update={"training_rows": plan.training_rows + plan.batch_size})
    if "training_rows" in changes:
        assert seconds(larger, slower) > AIM * 300


def test_the_proof_goes_first_then_epochs_then_rows() -> None:
    order = [set(fitted(slower)[0]) for slower in (0.1, 0.7, 1.0, 2.0, 5.0)]
    assert all(fewer <= more for fewer, more in pairwise(order))
    assert "n_epochs" in fitted(2.0)[0] and "training_rows" not in fitted(1.0)[0]


def test_on_the_slowest_machine_a_run_worth_its_time_is_left_and_it_is_said_that_it_takes_longer() -> None:
    changes, plan = fitted(100.0)
    assert plan.training_rows == FEWEST_UPDATES * plan.batch_size and plan.n_epochs == 1
    codes = [issue.code for issue in issues_of(changes, plan, seconds(plan, 100.0), 300.0, 8.0, 2)]
    assert codes == ["left_out_for_time", "minutes_too_few"]


@pytest.mark.parametrize("name", ["n_epochs", "test_rows", "validation_rows", "training_rows"])
def test_what_the_user_has_decided_stays(name: str) -> None:
    assert name not in fitted(100.0, name)[0]


def test_learning_rates_are_not_tried_where_that_takes_more_than_its_share() -> None:
    trying = QUICK.model_copy(update={"learning_rate_probe": True, "minutes": 10.0, "n_epochs": 3})
    assert fitted(2.0, plan=trying, left=600.0)[1].learning_rate_probe is False
    assert fitted(2.0, "learning_rate_probe", plan=trying, left=600.0)[1].learning_rate_probe is True


def test_without_a_limit_nothing_is_left_out_and_nothing_is_said() -> None:
    plan = QUICK.model_copy(update={"minutes": 0.0})
    assert fitted(100.0, plan=plan)[0] == {} and issues_of({}, plan, 9999.0, 1.0, 8.0, 2) == []


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_change_has_a_reason_with_both_numbers(lang: str) -> None:
    changes, plan = fitted(100.0)
    small = counts(128, validation=10, test=20)
    chosen, reasons = choose(TITLES, small, SMALL, MACHINE, PROBE, "quick_try", changes=changes)
    for name, change in changes.items():
        words = reasons[name].why(lang)
        assert str(change.after) in words and str(change.before) in words and reasons[name].source == "measured"
        assert getattr(chosen, name) == change.after
    for issue in issues_of(changes, plan, 999.0, 300.0, 8.0, 2):
        assert issue.message(lang) and issue.fix(lang) and "{" not in issue.message(lang) + issue.fix(lang)
