"""Which rows make up each update, and how an update is computed.

An update is decided by (seed, update) alone: the order of an epoch is a pure function, so that a run can go on from any
update without any state of a loader. How its rows are grouped for the computation changes nothing but time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

from postil.records import Plan


@dataclass(frozen=True)
class Schedule:
    """The updates of a run over `n` examples.

    cuts: (after which update, how many in all), where it is to end sooner.
    """

    n: int
    plan: Plan
    cuts: tuple[tuple[int, int], ...] = ()

    @property
    def per_epoch(self) -> int:
        return -(-self.n // self.plan.batch_size)

    @property
    def planned(self) -> int:
        """Updates of a run that goes to its planned end."""
        return self.per_epoch * self.plan.n_epochs

    @property
    def total(self) -> int:
        return self.cuts[-1][1] if self.cuts else self.planned

    def rows(self, update: int) -> list[int]:
        """The examples of update 0, 1, 2, ..."""
        epoch, place = divmod(update, self.per_epoch)
        size = self.plan.batch_size
        return list(_order(self.n, self.plan.seed, epoch)[place * size : (place + 1) * size])

    def learning_rate(self, update: int, peak: float) -> float:
        """A closed form of the update: warm-up, then linear, cosine or constant.

        From a cut on, what is left of the rate falls to nothing by the new end.
        """
        from math import cos, pi

        warm = round(self.planned * self.plan.warmup_ratio)
        if update < warm:
            return peak * (update + 1) / warm
        left = self._left(update, warm)
        if self.plan.lr_scheduler == "constant":
            return peak
        return peak * left if self.plan.lr_scheduler == "linear" else peak * (1 - cos(pi * left)) / 2

    def _left(self, update: int, warm: int) -> float:
        """The share of the way from the end of the warm-up to the end of the run that is left before `update`."""
        start, left, end = warm, 1.0, self.planned
        for step, total in self.cuts:
            if update < step:
                break
            turn = max(step, warm)
            left *= 1 - (turn - start) / max(1, end - start)
            start, end = turn, total
        return left * (1 - (update - start) / max(1, end - start))


@lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(n))
    random.Random(f"{seed}:{epoch}").shuffle(order)  # noqa: S311 - an order, not a secret
    return tuple(order)
