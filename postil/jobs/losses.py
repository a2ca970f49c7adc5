"""The losses of a run by step, as many as a chart can show: a run of any length takes the same memory to look at."""

from __future__ import annotations

from collections.abc import Sequence

DRAWN = 400  # points that are drawn of a curve: each goes to every page that is open, at each look


class Losses:
    """Training and validation loss. Steps may come in any order and twice; of a long run a thinned part is kept."""

    def __init__(self) -> None:
        self.training: dict[int, float] = {}
        self.validation: dict[int, float] = {}
        self.broken: list[int] = []  # the first steps whose loss was no number

    def add(self, step: int, training: float | None, validation: float | None) -> None:
        """Take the losses after a step, None where one was not measured, in nats per token."""
        if training is None and len(self.broken) < DRAWN:
            self.broken.append(step)
        if training is not None:
            self.training[step] = training
            self.training = trim(self.training)
        if validation is not None:
            self.validation[step] = validation
            self.validation = trim(self.validation)

    def lines(self) -> list[dict[str, float]]:
        """As lines of metrics.jsonl, by step: step, loss, validation_loss."""
        series = {"loss": self.training, "validation_loss": self.validation}
        steps = sorted({*self.training, *self.validation, *self.broken})
        return [{"step": step, **{name: numbers[step] for name, numbers in series.items() if step in numbers}}
                for step in steps]  # fmt: skip


def trim(numbers: dict[int, float]) -> dict[int, float]:
    """Twice what is drawn at most, with the lowest and the highest of all."""
    if len(numbers) <= 2 * DRAWN:
        return numbers
    return {int(step): number for step, number in thinned(sorted(numbers.items()), DRAWN)}


def thinned(points: Sequence[tuple[int, float]], most: int) -> list[list[float]]:
    """At most `most` points of a curve: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= most:
        return [[step, value] for step, value in points]
    stretches = max(1, (most - 2) // 2)
    inner = points[1:-1]
    kept: list[tuple[int, float]] = [points[0]]
    for i in range(stretches):
        part = inner[i * len(inner) // stretches : (i + 1) * len(inner) // stretches]
        if part:
            low, high = min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])
            kept += sorted({low, high})
    return [[step, value] for step, value in [*kept, points[-1]]]
