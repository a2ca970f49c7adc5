"""Is the tuned model better than the base on the one metric that the plan fixed? A paired answer with an interval.

A yes-or-no metric (exact_match) has the exact McNemar test: among the rows on which only one of the two is right, heads
and tails of a fair coin. Its interval is the wider, on each side, of two: Newcombe's score interval for a paired
difference (1998, Statistics in Medicine 17:2635, method 10), which covers well, and the Clopper-Pearson interval of
the coin scaled by the share of such rows, which excludes 0 exactly when the test rejects.

Other metrics have a paired resampling interval, again the wider, on each side, of two: the BCa bootstrap of the mean
difference (Efron 1987, JASA 82:171), which corrects for skew, and Hartigan's typical values (1969, JASA 64:1303), the
means of random subsets, which are the exact sign-flip test turned into an interval: if base and tuned only swap
places at random, it misses on each side at most 2.5 % of the time at any size, ties and lumps included.

What no test can see without more rows: a harm so rare that no test row shows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from postil.errors import DataError, PlanError
from postil.locales import say
from postil.records import Preference, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST_ROWS = 20  # below, no verdict is given
FORGETTING_LIMIT = 0.10  # nats per token on neutral text (autoconfig: the guard)
_ONE_SIDE = 0.025  # of a 95 % interval
_RESAMPLES = 10_000
_DRAWS = 50_000_000  # random numbers at most: fewer resamples above 5,000 rows, never under 2,000
_BLOCK = 4_000_000  # numbers held in memory at once
_SEED = 20_260_101
_BINARY = ("exact_match", "preferred")
_LOWER_IS_BETTER = ("loss",)
_KNOWN = (*_BINARY, "field_match", "char_f1", "rouge_l", "bleu", "entity_f1", *_LOWER_IS_BETTER)

Outcome = Literal["better", "no_difference", "worse", "too_few"]


def verdict(metric: str, base: Sequence[float], tuned: Sequence[float]) -> Verdict:
    """Compare the rows' scores of `base` and `tuned`; row i of both answers the same question.

    `difference` is positive when the tuned model is better, also for loss. The same scores give the same verdict,
    always. Raises PlanError `metric_unknown`, DataError `scores_unpaired` and `scores_not_finite`.
    """
    if metric not in _KNOWN:
        raise PlanError("metric_unknown", metric=metric, known=", ".join(_KNOWN))
    _check(base, tuned)
    if not base:
        return Verdict("too_few", metric, 0.0, (0.0, 0.0), 0)
    if metric in _BINARY:
        difference, interval, p_value = _of_proportions(base, tuned)
    else:
        sign = -1.0 if metric in _LOWER_IS_BETTER else 1.0
        each = [sign * (b - a) for a, b in zip(base, tuned, strict=True)]
        difference, interval, p_value = _of_means(each, None if metric in _LOWER_IS_BETTER else 1.0)
    return Verdict(_outcome(len(base), interval), metric, difference, interval, len(base), p_value)


def preference(won: int, lost: int, tied: int) -> Preference:
    """The verdict of those who compared: of so many questions the tuned answer won, lost, or neither.

    The same test and interval as for yes-or-no metrics, on which an undecided question is one that neither got right.
    """
    base = [0.0] * (won + tied) + [1.0] * lost
    tuned = [1.0] * won + [0.0] * (tied + lost)
    if not base:
        return Preference("too_few", 0, 0, 0, 0.5, (0.0, 1.0), 1.0)
    difference, (low, high), p_value = _of_proportions(base, tuned)
    rate = ((1 + low) / 2, (1 + high) / 2)
    return Preference(_outcome(len(base), (low, high)), won, lost, tied, (1 + difference) / 2, rate, p_value)


def forgetting_words(change: float | None, lang: str | None = None) -> str:
    """The guard's sentence. `change`: how much the loss on neutral text grew, nats per token; None: not measured."""
    if change is None:
        return say("forgetting.unknown", lang)
    if forgets(change):
        return say("forgetting.warn", lang, change=change, limit=FORGETTING_LIMIT)
    return say("forgetting.fine", lang, change=round(change, 3) + 0.0, limit=FORGETTING_LIMIT)


def forgets(change: float) -> bool:
    """Whether general language has suffered. A change that is no number counts as yes."""
    return not change <= FORGETTING_LIMIT


def _check(base: Sequence[float], tuned: Sequence[float]) -> None:
    if len(base) != len(tuned):
        raise DataError("scores_unpaired", left=len(base), right=len(tuned))
    pairs = enumerate(zip(base, tuned, strict=True), start=1)
    bad = [row for row, pair in pairs if not all(math.isfinite(value) for value in pair)]
    if bad:
        raise DataError("scores_not_finite", count=len(bad), first=bad[0])


def _outcome(n: int, interval: tuple[float, float]) -> Outcome:
    if n < FEWEST_ROWS:
        return "too_few"
    low, high = interval
    return "better" if low > 0 else "worse" if high < 0 else "no_difference"


# ── yes or no ─────────────────────────────────────────────────────────────────────────────────────


def _of_proportions(base: Sequence[float], tuned: Sequence[float]) -> tuple[float, tuple[float, float], float]:
    """Difference of the shares of right rows, its interval, and the exact McNemar p-value (two-sided)."""
    from scipy.stats import binomtest

    pairs = [(a > 0.5, b > 0.5) for a, b in zip(base, tuned, strict=True)]
    n = len(pairs)
    both, won, lost = pairs.count((True, True)), pairs.count((False, True)), pairs.count((True, False))
    low, high = _newcombe(both, won, lost, n)
    p_value = 1.0
    if won + lost:
        test = binomtest(won, won + lost)
        p_value = float(test.pvalue)
        coin = test.proportion_ci(1 - 2 * _ONE_SIDE, method="exact")
        share = (won + lost) / n
        low = min(low, share * (2 * float(coin.low) - 1))
        high = max(high, share * (2 * float(coin.high) - 1))
    return (won - lost) / n, (_snap(low, 1.0), _snap(high, 1.0)), p_value


def _newcombe(both: int, won: int, lost: int, n: int) -> tuple[float, float]:
    """Newcombe's method 10: Wilson limits of the two shares, joined with their correlation."""
    neither = n - both - won - lost
    tuned, base = (both + won) / n, (both + lost) / n
    tuned_low, tuned_high = _wilson(both + won, n)
    base_low, base_high = _wilson(both + lost, n)
    product = float(both * neither - won * lost)
    if product > 0:
        product = max(product - n / 2, 0.0)  # his continuity correction
    margins = (both + won) * (lost + neither) * (both + lost) * (won + neither)
    phi = product / math.sqrt(margins) if margins else 0.0
    down = _joined(tuned - tuned_low, base_high - base, phi)
    up = _joined(tuned_high - tuned, base - base_low, phi)
    return max(-1.0, tuned - base - down), min(1.0, tuned - base + up)


def _joined(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(0.0, first**2 - 2 * phi * first * second + second**2))


def _wilson(hits: int, n: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    limits = binomtest(hits, n).proportion_ci(1 - 2 * _ONE_SIDE, method="wilson")
    return float(limits.low), float(limits.high)


# ── by degrees ────────────────────────────────────────────────────────────────────────────────────


def _of_means(differences: Sequence[float], most: float | None) -> tuple[float, tuple[float, float], float]:
    """Mean difference, its interval, and the two-sided sign-flip p-value. most: what a difference can be at most, in
    either direction; None: it has no bound."""
    import numpy as np

    rows = np.asarray(differences, dtype=np.float64)[None, :]
    low, high, p_value = resampled(rows)
    mean, interval = float(rows.mean()), (float(low[0]), float(high[0]))
    if interval[1] - interval[0] <= 1e-9 * abs(mean):
        interval = _of_equals(mean, len(differences), 2 * abs(mean) if most is None else most)
    return mean, interval, float(p_value[0])


def _of_equals(mean: float, n: int, most: float) -> tuple[float, float]:
    """The interval where all rows differ by the same: resampling sees no spread, but n rows that agree do not show that
    all others would. At most this share of all others is of another kind (Clopper and Pearson 1934, for 0 of n; about
    3.7 / n), and whatever they are, they differ by no more than `most`."""
    others = 1 - _ONE_SIDE ** (1 / n)
    return mean - others * (mean + most), mean + others * (most - mean)


def resampled(
    runs: NDArray[np.float64], resamples: int = _RESAMPLES
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """95 % limits of the mean difference and sign-flip p-values, for each run of differences [runs, n] on its own.

    All runs see the same resamples, which depend on n alone.
    """
    import numpy as np

    n = runs.shape[1]
    resamples = max(min(resamples, _DRAWS // n), 2_000)
    drawn, halves = _means(runs, resamples)
    scale = np.abs(runs).max(axis=1)
    low_at, high_at = _bca_levels(runs, drawn, scale)
    drawn.sort(axis=1)
    halves.sort(axis=1)
    half_low, half_high = np.full(len(runs), _ONE_SIDE), np.full(len(runs), 1 - _ONE_SIDE)
    low = np.minimum(_at(drawn, low_at), _at(halves, half_low))
    high = np.maximum(_at(drawn, high_at), _at(halves, half_high))
    near = 1e-12 * scale[:, None]
    tails = np.minimum((halves <= near).sum(axis=1), (halves >= -near).sum(axis=1)) + 1
    return _snap_all(low, scale), _snap_all(high, scale), np.minimum(1.0, 2 * tails / (resamples + 1))


def _means(runs: NDArray[np.float64], resamples: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of bootstrap samples and of random subsets, both [runs, resamples]."""
    import numpy as np

    n = runs.shape[1]
    random = np.random.default_rng(_SEED)
    block = max(1, _BLOCK // n)
    drawn, halves = np.empty((len(runs), resamples)), np.empty((len(runs), resamples))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        picks = random.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(picks.ravel(), minlength=size * n).reshape(size, n)
        drawn[:, start : start + size] = runs @ (counts.T / n)
        inside = random.random((size, n)) < 0.5
        inside[~inside.any(axis=1)] = True  # an empty subset has no mean; from 20 rows on it is one in a million
        halves[:, start : start + size] = runs @ (inside.T / inside.sum(axis=1))
    return drawn, halves


def _bca_levels(
    runs: NDArray[np.float64], drawn: NDArray[np.float64], scale: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The bias-corrected and accelerated levels that replace 2.5 % and 97.5 %. For a mean the jackknife acceleration
    is the skewness over six root n."""
    import numpy as np
    from scipy.special import ndtr, ndtri

    mean = runs.mean(axis=1, keepdims=True)
    near = 1e-12 * scale[:, None]
    below = ((drawn < mean - near).mean(axis=1) + (drawn <= mean + near).mean(axis=1)) / 2
    bias = ndtri(np.clip(below, 1 / drawn.shape[1], 1 - 1 / drawn.shape[1]))
    centred = runs - mean
    squares = (centred**2).sum(axis=1)
    flat = squares <= (1e-12 * scale) ** 2
    bend = np.where(flat, 0.0, (centred**3).sum(axis=1) / (6 * np.where(flat, 1.0, squares) ** 1.5))

    def level(normal: float) -> NDArray[np.float64]:
        moved = bias + normal
        return np.asarray(ndtr(bias + moved / (1 - bend * moved)))

    reach = float(ndtri(1 - _ONE_SIDE))
    return level(-reach), level(reach)


def _at(ordered: NDArray[np.float64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row in rising order the value at its level, rounded outwards: down below a half, up above."""
    import numpy as np

    count = ordered.shape[1]
    down = np.floor(np.minimum(levels, 1 - levels) * (count + 1)).astype(int).clip(1, count) - 1
    place = np.where(levels < 0.5, down, count - 1 - down)
    return np.take_along_axis(ordered, place[:, None], axis=1)[:, 0]


def _snap(value: float, scale: float) -> float:
    return 0.0 if abs(value) <= 1e-12 * scale else value


def _snap_all(values: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounding errors around 0 must not decide."""
    import numpy as np

    return np.where(np.abs(values) <= 1e-12 * scale, 0.0, values)
