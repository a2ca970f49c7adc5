import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from postil.errors import DataError, PlanError
from postil.evaluate import forgetting_words, verdict
from postil.evaluate.verdict import _newcombe, resampled
from postil.locales import say

Runs = NDArray[np.float64]


# ── yes or no ────────────────────────────────────────────────────────────────────────────────────


def rows_of(both: int, won: int, lost: int, neither: int) -> tuple[list[float], list[float]]:
    base = [1.0] * both + [0.0] * won + [1.0] * lost + [0.0] * neither
    tuned = [1.0] * both + [1.0] * won + [0.0] * lost + [0.0] * neither
    return base, tuned


def test_exact_match_says_what_mcnemar_says_and_the_interval_agrees() -> None:
    for n in (20, 35):
        for won in range(0, n + 1, 1):
            for lost in range(0, n + 1 - won, 3):
                both = (n - won - lost) // 2
                found = verdict("exact_match", *rows_of(both, won, lost, n - won - lost - both))
                p_value = binomtest(won, won + lost).pvalue if won + lost else 1.0
                assert found.p_value == pytest.approx(p_value)
                wanted = "no_difference" if p_value >= 0.05 else "better" if won > lost else "worse"
                assert found.outcome == wanted, (n, won, lost, found)
                low, high = found.interval
                assert -1 <= low <= found.difference <= high <= 1


def test_newcombe_gives_the_published_limits() -> None:
    """Newcombe 1998, method 10, for the counts 36, 12, 2, 0 of 50."""
    assert _newcombe(36, 12, 2, 50) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_interval_of_proportions_covers() -> None:
    """Exact sum over all tables: the true difference is inside at least 94 % of the time."""
    n, gains, losses = 25, 0.3, 0.1
    covered = 0.0
    for won in range(n + 1):
        for lost in range(n + 1 - won):
            chance = binom.pmf(won, n, gains) * binom.pmf(lost, n - won, losses / (1 - gains))
            if chance < 1e-7:
                continue
            low, high = verdict("exact_match", *rows_of(0, won, lost, n - won - lost)).interval
            covered += chance * (low <= gains - losses <= high)
    assert covered >= 0.94


# ── by degrees: how often is "better" said where nothing is better ───────────────────────────────


def zeros_and_ones(random: np.random.Generator, shape: tuple[int, int]) -> Runs:
    """Character F1 as it is: many rows right, many rows with nothing right, the rest between."""
    kind = random.random(shape)
    return np.where(kind < 0.45, 0.0, np.where(kind < 0.75, 1.0, random.beta(2, 3, shape)))


def mostly_ties(random: np.random.Generator, shape: tuple[int, int]) -> Runs:
    return np.where(random.random(shape) < 0.95, 1.0, random.random(shape))


def thirds(random: np.random.Generator, shape: tuple[int, int]) -> Runs:
    return random.integers(0, 4, shape) / 3


def heavy_tail(random: np.random.Generator, shape: tuple[int, int]) -> Runs:
    return random.standard_t(1.5, shape)


def loss_like(random: np.random.Generator, shape: tuple[int, int]) -> Runs:
    return random.lognormal(0.0, 1.0, shape)


def one_of_few(random: np.random.Generator, shape: tuple[int, int]) -> Runs:
    """At most four rows differ at all: the bootstrap alone says "better" too often here."""
    scores = np.zeros(shape)
    scores[:, :4] = random.random((shape[0], 4))
    return scores


@pytest.mark.parametrize("draw", [zeros_and_ones, mostly_ties, thirds, heavy_tail, loss_like, one_of_few])
@pytest.mark.parametrize("n", [20, 30, 50, 200])
def test_better_is_rare_when_both_are_alike(draw: Callable[..., Runs], n: int) -> None:
    runs = 1500
    random = np.random.default_rng([n, len(draw.__name__)])
    low, high, _ = resampled(draw(random, (runs, n)) - draw(random, (runs, n)), resamples=2_000)
    limit = binom.ppf(0.999, runs, 0.025)  # 2.5 % on each side, and what chance adds in 1,500 runs
    assert (low > 0).sum() <= limit
    assert (high < 0).sum() <= limit


@pytest.mark.parametrize("n", [20, 30, 50, 200])
def test_better_is_rare_when_means_are_equal_and_shapes_are_not(n: int) -> None:
    """The base is right on a fifth of the rows, the tuned model a fifth right on all: many small gains, few losses."""
    runs = 1500
    random = np.random.default_rng(n)
    base = (random.random((runs, n)) < 0.2).astype(float)
    low, _, _ = resampled(0.2 - base, resamples=2_000)
    assert (low > 0).sum() <= binom.ppf(0.999, runs, 0.05)


def test_a_plain_bootstrap_would_fail_these_tests() -> None:
    """So they can fail: with four rows that differ, its 95 % interval leaves 0 out in more than 5 % of the runs."""
    runs, n = 1500, 50
    random = np.random.default_rng(5)
    differences = one_of_few(random, (runs, n)) - one_of_few(random, (runs, n))
    picks = random.integers(n, size=(2_000, n))
    low = np.array([np.quantile(row[picks].mean(axis=1), 0.025) for row in differences])
    assert (low > 0).mean() > 0.05


# ── by degrees: what it says ─────────────────────────────────────────────────────────────────────


def test_a_clear_gain_is_seen() -> None:
    random = np.random.default_rng(1)
    base = random.random(50) * 0.5
    tuned = base + random.normal(0.15, 0.2, 50)
    found = verdict("char_f1", base.tolist(), tuned.tolist())
    assert found.outcome == "better"
    assert 0 < found.interval[0] < found.difference < found.interval[1]
    assert found.p_value is not None and found.p_value < 0.05
    assert verdict("char_f1", tuned.tolist(), base.tolist()).outcome == "worse"


def test_lower_loss_is_better_and_positive() -> None:
    found = verdict("loss", [2.0, 2.2] * 15, [1.0, 1.3] * 15)
    assert found.outcome == "better"
    assert found.difference == pytest.approx(0.95)
    assert verdict("loss", [1.0, 1.3] * 15, [2.0, 2.2] * 15).outcome == "worse"


def test_interval_is_close_to_the_t_interval_on_tame_data() -> None:
    random = np.random.default_rng(2)
    differences = random.normal(0.0, 1.0, 200)
    found = verdict("rouge_l", [0.0] * 200, differences.tolist())
    half = 1.972 * differences.std(ddof=1) / math.sqrt(200)
    assert found.interval[0] == pytest.approx(found.difference - half, abs=0.02)
    assert found.interval[1] == pytest.approx(found.difference + half, abs=0.02)


@pytest.mark.parametrize("metric", ["exact_match", "char_f1", "loss"])
def test_no_change_at_all_is_no_difference(metric: str) -> None:
    found = verdict(metric, [1.0, 0.0] * 20, [1.0, 0.0] * 20)
    assert (found.outcome, found.difference, found.p_value) == ("no_difference", 0.0, 1.0)


def test_rounding_errors_are_no_improvement() -> None:
    found = verdict("char_f1", [0.1 + 0.2] * 40, [0.3] * 39 + [0.1 + 0.2])
    assert found.outcome != "better"


@pytest.mark.parametrize("metric", ["exact_match", "bleu"])
def test_too_few_rows_give_no_verdict(metric: str) -> None:
    assert verdict(metric, [0.0] * 19, [1.0] * 19).outcome == "too_few"
    assert verdict(metric, [0.0] * 20, [1.0] * 20).outcome == "better"
    assert verdict(metric, [0.0], [1.0]).outcome == "too_few"
    assert verdict(metric, [], []).n == 0


def test_the_same_scores_give_the_same_verdict() -> None:
    scores = np.random.default_rng(3).random((2, 40)).tolist()
    assert verdict("bleu", *scores) == verdict("bleu", *scores)


def test_many_rows_stay_quick_and_small() -> None:
    scores = np.random.default_rng(4).random((2, 30_000))
    assert verdict("char_f1", scores[0].tolist(), (scores[1] + 0.1).tolist()).outcome == "better"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(DataError) as raised:
        verdict("loss", [1.0] * 30, [1.0] * 29 + [bad])
    assert raised.value.code == "scores_not_finite"
    assert "30" in raised.value.cause("en") and "30" in raised.value.cause("zh")


def test_unknown_metric_and_unpaired_rows_are_refused() -> None:
    with pytest.raises(PlanError):
        verdict("length", [1.0] * 30, [1.0] * 30)
    with pytest.raises(DataError):
        verdict("bleu", [1.0] * 30, [1.0] * 29)


# ── words ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_words_hold_the_numbers(lang: str) -> None:
    better = verdict("exact_match", *rows_of(5, 20, 1, 24))
    words = better.words(lang)
    assert "50" in words and "38.0" in words and say("metric.exact_match", lang) in words
    assert f"{100 * better.interval[0]:.1f}" in words
    worse = verdict("loss", [1.0, 1.5] * 15, [2.0, 2.75] * 15).words(lang)
    assert "-1.125" in worse
    few = verdict("bleu", [0.0] * 3, [0.5] * 3).words(lang)
    assert "3" in few and "20" in few
    assert "-0.0" not in verdict("char_f1", [0.5] * 20, [0.49999] + [0.5] * 19).words(lang)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_forgetting_words(lang: str) -> None:
    assert "learning_rate" in forgetting_words(0.11, lang)
    assert "mlp-only" in forgetting_words(math.nan, lang)
    assert "learning_rate" not in forgetting_words(0.10, lang)
    assert "-0.000" not in forgetting_words(-0.0001, lang)
    assert forgetting_words(None, lang) not in (forgetting_words(0.0, lang), forgetting_words(1.0, lang))


@pytest.mark.parametrize(
    ("difference", "n", "outcome"), [(1.0, 20, "better"), (0.01, 20, "no_difference"), (0.01, 2000, "better")]
)
def test_rows_that_all_differ_by_the_same_are_no_certainty(difference: float, n: int, outcome: str) -> None:
    """Resampling sees no spread; twenty rows that agree leave room for a sixth of all others to disagree."""
    found = verdict("char_f1", [0.0] * n, [difference] * n)
    low, high = found.interval
    assert low < difference <= high <= 1.0 and found.outcome == outcome
    loss = verdict("loss", [2.0] * n, [2.0 - difference] * n)
    assert loss.interval[0] < difference - 1e-9 and loss.difference == pytest.approx(difference)
    none = verdict("char_f1", [0.5] * n, [0.5] * n)
    assert none.outcome == "no_difference" and none.interval[0] < 0 < none.interval[1]
