"""The time left is said anew when it is wrong by a half; a job with a limit makes as many updates as fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postil.train.pace import FEWEST_UPDATES, Budget, Pace

PLANNED = Budget(update=4.0, proof=40.0, limit=300.0, spent=20.0)


def heard(*seconds: float, budget: Budget = PLANNED) -> Pace:
    """After these updates, and one before them, which finds things out."""
    pace = Pace(budget)
    for each in (60.0, *seconds):
        pace.hear(each)
    return pace


def test_a_few_updates_or_seconds_say_nothing_yet() -> None:
    assert heard(9.0, 9.0).update_seconds is None
    assert heard(*[1.0] * 29).update_seconds is None
    assert heard(*[4.0] * 8).update_seconds == 4.0


def test_only_the_last_ones_count() -> None:
    assert heard(*[2.0] * 30, *[12.0] * 3).update_seconds == 12.0


@pytest.mark.parametrize("seconds", [2.7, 4.0, 5.9])
def test_what_is_not_wrong_by_a_half_is_no_news(seconds: float) -> None:
    assert heard(*[seconds] * 12).news(10, 75) is None


def test_a_slower_machine_is_told_once_with_what_would_fit() -> None:
    pace = heard(*[8.0] * 4)
    news = pace.news(15, 75)
    assert news is not None and news.slower
    assert news.planned == 4.0 * 60 + 40 and news.left == 8.0 * 60 + 80 and news.updates == 45
    assert pace.news(16, 75) is None


def test_a_faster_one_too() -> None:
    news = heard(*[2.0] * 15).news(15, 75)
    assert news is not None and not news.slower and news.updates == 75


def test_a_minute_sooner_or_later_is_no_news() -> None:
    assert heard(*[8.0] * 4, budget=Budget(update=4.0)).news(61, 75) is None
    assert heard(*[8.0] * 4, budget=Budget(update=4.0)).news(60, 75) is not None


def test_a_plan_that_says_nothing_of_time_is_not_contradicted() -> None:
    assert heard(*[8.0] * 4, budget=Budget()).news(15, 75) is None


def test_as_many_updates_as_fit_beside_a_proof_that_is_as_slow() -> None:
    pace = heard(*[8.0] * 4)
    # 300 - 20 spent - 60 so far - a proof twice as long as planned: 140 seconds, 17 updates of 8 seconds
    assert pace.affordable(10, 75, 75, 60.0) == 27
    assert pace.affordable(10, 75, 75, 60.0, extra=20.0) == 25


def test_what_fits_or_nearly_fits_is_not_cut() -> None:
    assert heard(*[2.0] * 15).affordable(10, 75, 75, 60.0) == 75
    assert heard(*[2.5] * 12).affordable(10, 75, 75, 60.0) == 75
    assert heard(*[8.0] * 4, budget=Budget(update=4.0)).affordable(10, 75, 75, 1e6) == 75


def test_a_run_is_never_so_short_that_it_was_for_nothing() -> None:
    pace = heard(*[90.0] * 3)
    assert pace.affordable(4, 75, 75, 500.0) == FEWEST_UPDATES
    assert pace.affordable(4, 5, 5, 500.0) == 5
    assert pace.affordable(20, 75, 75, 500.0) == 20
    assert heard(*[90.0] * 3, budget=replace(PLANNED, fewest=32)).affordable(4, 75, 75, 500.0) == 32


def test_a_run_that_was_cut_goes_on_longer_when_the_machine_is_fast_again() -> None:
    fast = heard(*[2.0] * 15)
    assert fast.affordable(14, 20, 75, 60.0) == 75
    assert fast.affordable(14, 20, 22, 60.0) == 20  # hardly longer
    assert heard(*[8.0] * 4).affordable(10, 26, 75, 60.0) == 26


def test_the_questions_for_which_there_is_time() -> None:
    assert heard(*[4.0] * 8).proof_share(100.0) == 1.0
    assert heard(*[8.0] * 4).proof_share(240.0) == pytest.approx(0.5)
    assert heard(*[8.0] * 4).proof_share(400.0) == 0.0
    assert heard(*[8.0] * 4, budget=Budget(proof=40.0)).proof_share(400.0) == 1.0
