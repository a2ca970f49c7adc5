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
    """The updates of a run over `n` examples."""

    n: int
    plan: Plan

    @property
    def per_epoch(self) -> int:
        return -(-self.n // self.plan.batch_size)

    @property
    def total(self) -> int:
        return self.per_epoch * self.plan.n_epochs

    def rows(self, update: int) -> list[int]:
        """The examples of update 0, 1, 2, ..."""
        epoch, place = divmod(update, self.per_epoch)
        size = self.plan.batch_size
        return list(_order(self.n, self.plan.seed, epoch)[place * size : (place + 1) * size])

    def learning_rate(self, update: int, peak: float) -> float:
        """A closed form of the update: warm-up, then linear, cosine or constant."""
        from math import cos, pi

        warm = round(self.total * self.plan.warmup_ratio)
        if update < warm:
            return peak * (update + 1) / warm
        left = 1 - (update - warm) / max(1, self.total - warm)
        if self.plan.lr_scheduler == "constant":
            return peak
        return peak * left if self.plan.lr_scheduler == "linear" else peak * (1 - cos(pi * left)) / 2


@lru_cache(maxsize=4)
def _order(n: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(n))
    random.Random(f"{seed}:{epoch}").shuffle(order)  # noqa: S311 - an order, not a secret
    return tuple(order)
