"""A simulated null through the whole selection: a learning-rate probe and early stopping choose on validation rows, the
verdict is taken on test rows. No candidate truly differs from the base. "better" may be said in 5 % of the runs."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from postil.evaluate import verdict
from postil.evaluate.verdict import resampled

Scores = NDArray[np.float64]
Rate = Callable[[Scores, Scores], float]
Metric = Callable[[Scores], Scores]
RUNS = 2_000
VALIDATION, TEST = 20, 50
RATES, CHECKPOINTS = 3, 8
AT_MOST = binom.ppf(0.999, RUNS, 0.05) / RUNS  # 5 %, and what chance adds in 2,000 runs


def trouble(random: np.random.Generator, candidates: int, rows: int) -> Scores:
    """How hard a model finds each row [run, candidate, row]: the row's own difficulty, and the candidate's luck."""
    shared = random.normal(0.0, 1.0, (RUNS, 1, rows))
    return shared + random.normal(0.0, 1.0, (RUNS, candidates, rows))


def loss(trouble: Scores) -> Scores:
    return np.log1p(np.exp(trouble))


def exact(trouble: Scores) -> Scores:
    return (trouble < -0.3).astype(float)


def char_f1(trouble: Scores) -> Scores:
    """Many rows wholly right, many wholly wrong, the rest by degrees."""
    return np.clip(0.5 - trouble, 0.0, 1.0)


def best(values: Scores) -> NDArray[Any]:
    """Of each run the candidate with the lowest mean [run]."""
    chosen: NDArray[Any] = np.argmin(values.mean(axis=2), axis=1)
    return chosen


def one_of_each(values: NDArray[Any], chosen: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = values[np.arange(RUNS), chosen]
    return found


def pipeline(seed: int, peek: Metric | None = None) -> tuple[Scores, Scores]:
    """Trouble of base and of the chosen checkpoint on the test rows, both [run, row].

    Choices follow the validation loss; with `peek` they follow that metric of the test rows, which is the sin.
    """
    random = np.random.default_rng(seed)
    of_validation = trouble(random, RATES * CHECKPOINTS, VALIDATION)
    of_test = trouble(random, 1 + RATES * CHECKPOINTS, TEST)
    base, tuned = of_test[:, 0], of_test[:, 1:]
    seen = loss(of_validation) if peek is None else -peek(tuned)
    rate = best(seen[:, ::CHECKPOINTS])  # the probe compares the first checkpoint of each learning rate
    of_rate = rate[:, None] * CHECKPOINTS + np.arange(CHECKPOINTS)
    checkpoint = best(np.take_along_axis(seen, of_rate[:, :, None], axis=1))
    return base, one_of_each(tuned, one_of_each(of_rate, checkpoint))


def said_better_by_match(base: Scores, tuned: Scores) -> float:
    pairs = zip(exact(base).tolist(), exact(tuned).tolist(), strict=True)
    return sum(outcome_by_match(tuple(sorted(zip(*pair, strict=True)))) == "better" for pair in pairs) / RUNS


@cache
def outcome_by_match(rows: tuple[tuple[float, float], ...]) -> str:
    """The verdict depends on how many rows are of each kind, so sorted rows are asked about once."""
    base, tuned = zip(*rows, strict=True)
    return verdict("exact_match", base, tuned).outcome


def said_better_by_degrees(base: Scores, tuned: Scores) -> float:
    low, _, _ = resampled(char_f1(tuned) - char_f1(base), resamples=2_000)
    return float((low > 0).mean())


@pytest.mark.parametrize("said_better", [said_better_by_match, said_better_by_degrees])
def test_nothing_better_is_rarely_called_better(said_better: Rate) -> None:
    assert 0.002 < said_better(*pipeline(11)) <= AT_MOST


@pytest.mark.parametrize(("metric", "said_better"), [(exact, said_better_by_match), (char_f1, said_better_by_degrees)])
def test_choosing_on_the_test_rows_would_break_the_promise(metric: Metric, said_better: Rate) -> None:
    assert said_better(*pipeline(11, peek=metric)) > AT_MOST


def test_the_vectorised_verdicts_are_those_of_the_product() -> None:
    base, tuned = (char_f1(scores)[:40] for scores in pipeline(12, peek=char_f1))
    low, high, _ = resampled(tuned - base)
    for row in range(40):
        found = verdict("char_f1", base[row].tolist(), tuned[row].tolist())
        assert found.interval == pytest.approx((low[row], high[row]))
        assert found.outcome == ("better" if low[row] > 0 else "worse" if high[row] < 0 else "no_difference")
