"""How the validation rows are answered, measured without writing an answer.

One forward pass over a reference tells whether greedy writing would give it: each of its tokens, the end included, must
be the likeliest one after those before it. So the share of rows that are right costs what their loss costs. Loss on a
few rows grows with confidence long before exactness stops growing, so that states are compared by the share of what the
plan's metric counts, and by their loss only where that is equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

GAIN = 1e-4  # nats; a smaller fall of the loss is no gain


@dataclass(frozen=True, slots=True)
class Grade:
    """loss: nats per token. right: the share of `counted` rows, tokens or labels that are right [0..1]; None where the
    plan's metric is a loss."""

    loss: float
    right: float | None = None
    counted: int = 0

    def beats(self, other: Grade) -> bool:
        """Whether this is the better state: more is right, or as much at a lower loss."""
        if self.right is not None and other.right is not None and self.right != other.right:
            return self.right > other.right
        return self.loss < other.loss - GAIN

    def falls_behind(self, best: Grade) -> bool:
        """Whether it is worse than the best one by more than chance: by one standard error of a share on so few rows.

        Where nothing was right yet, or nothing is counted, a state that does not beat the best one falls behind it.
        """
        if self.right is None or not best.right:
            return not self.beats(best)
        return self.right < best.right - self.noise

    @property
    def noise(self) -> float:
        """The standard error of the share, of one more row that is right and one that is not (Agresti and Coull 1998):
        a share of 0 or 1 on few rows is no certainty."""
        share = ((self.right or 0.0) * self.counted + 1) / (self.counted + 2)
        return sqrt(share * (1 - share) / (self.counted + 2))
