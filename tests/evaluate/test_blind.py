"""Nobody can tell the sides before the end, everybody's votes mean what they meant, and agreement is counted right."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.evaluate import CHOICES, order, preference, revealed, shown_rows, sides, tally
from postil.evaluate.blind import agreement

ROWS = [{"question": f"q{i}", "reference": f"r{i}", "base": f"base {i}", "tuned": f"tuned {i}"} for i in range(41)]


def test_each_rater_sees_the_tuned_answer_on_the_left_half_of_the_time_and_each_other_rows() -> None:
    seen = [sides("seed", f"rater_{i}", 41) for i in range(200)]
    assert {sum(one) for one in seen} == {20, 21}
    assert len({tuple(one) for one in seen}) == 200
    for row in range(41):
        assert 60 < sum(one[row] for one in seen) < 140, "no row leans to a side over all raters"
    assert sides("seed", "rater_1", 41) == seen[1] and sides("other", "rater_1", 41) != seen[1]
    assert sides("s", "r", 0) == [] and {sides("s", f"r{i}", 1)[0] for i in range(40)} == {True, False}


def test_what_is_shown_holds_both_answers_and_no_hint() -> None:
    shown = shown_rows(ROWS, "seed", "rater_1")
    assert sorted(one["row"] for one in shown) == list(range(41)) and [one["row"] for one in shown] != list(range(41))
    for one in shown:
        assert set(one) == {"row", "question", "reference", "a", "b"}
        assert {one["a"], one["b"]} == {f"base {one['row']}", f"tuned {one['row']}"}
    assert [one["row"] for one in shown] == order("seed", "rater_1", 41)
    keys = {tuple(one) for one in shown}
    assert len(keys) == 1, "the order of the fields is no hint either"


@given(st.text(max_size=5), st.text(max_size=5), st.integers(1, 30), st.data())
def test_votes_mean_what_was_on_their_side(seed: str, rater: str, n: int, data: Any) -> None:
    rows = ROWS[:n]
    shown = {one["row"]: one for one in shown_rows(rows, seed, rater)}
    votes = data.draw(st.dictionaries(st.integers(-2, n + 2), st.sampled_from(CHOICES)))
    meant = revealed(seed, rater, n, votes)
    assert set(meant) == {row for row in votes if 0 <= row < n}
    for row, meaning in meant.items():
        if votes[row] in ("a", "b"):
            assert shown[row][votes[row]].startswith(meaning)
        else:
            assert meaning == votes[row]


def votes_for(rater: str, meanings: list[str], seed: str = "s") -> dict[int, str]:
    """The votes by which this rater says so."""
    left = sides(seed, rater, len(meanings))
    choose = {("tuned", True): "a", ("tuned", False): "b", ("base", True): "b", ("base", False): "a"}
    return {i: choose.get((meaning, left[i]), meaning) for i, meaning in enumerate(meanings)}


def test_the_majority_of_a_row_counts_and_an_even_split_is_undecided() -> None:
    said = [["tuned", "tuned", "base", "same", "tuned"], ["tuned", "base", "base", "tuned", "both_bad"],
            ["base", "both_bad", "base", "same", "base"]]  # fmt: skip
    votes = {f"r{i}": votes_for(f"r{i}", one) for i, one in enumerate(said)}
    votes["nobody"] = {}
    told = tally("s", 6, votes)
    assert (told.preference.won, told.preference.lost, told.preference.tied) == (2, 1, 2)
    assert told.votes == 15 and told.by_row[0] == {"tuned": 2, "base": 1} and told.by_row[5] == {}
    assert told.by_rater["r0"] == {"tuned": 3, "base": 1, "same": 1} and told.agreement.raters == 3
    assert told.preference.outcome == "too_few"
    assert set(told.as_json()["agreement"]) == {"raters", "rows", "pairs", "percent", "kappa", "method"}


def test_a_rater_who_always_takes_the_left_one_decides_nothing() -> None:
    told = tally("s", 40, {"lazy": dict.fromkeys(range(40), "a")})
    assert told.left_share == 1.0 and told.preference.win_rate == 0.5 and told.preference.outcome == "no_difference"


def test_no_votes_at_all() -> None:
    told = tally("s", 5, {})
    assert (told.votes, told.left_share, told.preference.n, told.preference.outcome) == (0, None, 0, "too_few")
    assert told.agreement.percent is None and told.preference.words("en") and told.preference.words("zh")
    assert tally("s", 0, {"r": {0: "a"}}).votes == 0


def test_cohen_and_fleiss_are_those_of_the_textbooks() -> None:
    # Cohen 1960's kind of table: 20 both yes, 5 + 10 apart, 15 both no: kappa 0.4
    first = {i: "tuned" if i < 25 else "base" for i in range(50)}
    second = {i: "tuned" if i < 20 or 25 <= i < 35 else "base" for i in range(50)}
    found = agreement({"x": first, "y": second})
    assert found.method == "cohen" and found.percent == pytest.approx(0.7) and found.kappa == pytest.approx(0.4)
    # Fleiss 1971's worked example with 14 raters, 10 subjects, 5 categories: kappa 0.210
    table = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
             [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    raters: dict[str, dict[int, str]] = {f"r{i}": {} for i in range(14)}
    for row, counts in enumerate(table):
        flat = [str(k) for k, count in enumerate(counts) for _ in range(count)]
        for i, choice in enumerate(flat):
            raters[f"r{i}"][row] = choice
    found = agreement(raters)
    assert found.method == "fleiss" and found.kappa == pytest.approx(0.210, abs=5e-4)


def test_agreement_that_cannot_be_told_is_not_told() -> None:
    assert agreement({"x": {0: "a"}, "y": {1: "a"}}).kappa is None
    always = agreement({"x": {0: "tuned", 1: "tuned"}, "y": {0: "tuned", 1: "tuned"}})
    assert always.percent == 1.0 and always.kappa is None
    assert agreement({"x": {0: "tuned"}, "y": {}}).raters == 1


@pytest.mark.parametrize(("won", "lost", "tied", "outcome"), [
    (30, 10, 0, "better"), (10, 30, 0, "worse"), (22, 18, 5, "no_difference"), (19, 0, 0, "too_few"),
    (0, 0, 40, "no_difference"), (12, 0, 60, "better"), (5, 0, 60, "no_difference"), (0, 0, 0, "too_few"),
])  # fmt: skip
def test_a_preference_in_numbers_and_words(won: int, lost: int, tied: int, outcome: str) -> None:
    told = preference(won, lost, tied)
    assert told.outcome == outcome and told.n == won + lost + tied
    assert 0 <= told.interval[0] <= told.win_rate <= told.interval[1] <= 1
    mirrored = preference(lost, won, tied)
    assert mirrored.win_rate == pytest.approx(1 - told.win_rate)
    assert mirrored.interval[0] == pytest.approx(1 - told.interval[1], abs=1e-9)
    assert f"{100 * told.win_rate:.1f}" in told.words("zh") and f"{100 * told.win_rate:.1f}" in told.words("en")


def test_of_equals_one_is_rarely_called_better() -> None:
    """200 votes between two equal models: at most 1 in 20 is told as a difference (exactly, over all splits)."""
    from math import comb

    told = sum(comb(60, won) / 2**60 for won in range(61) if preference(won, 60 - won, 0).outcome != "no_difference")
    assert told <= 0.05
    assert Counter(preference(won, 60 - won, 0).outcome for won in range(61))["better"] > 15
