"""What a run shows of itself, for the doctor: read from its directory, whether it has ended well, badly, or not yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

from postil.errors import TrainError
from postil.evaluate.answers import read_evaluation
from postil.records import Evaluation, Plan
from postil.store import read_json

PARTS = ("training", "validation", "test")
Point = tuple[int, float]  # update, loss


@dataclass(frozen=True)
class Case:
    """One run. Whatever is not known (yet) is left out.

    parts     examples for training, validation and test
    history   lines of metrics.jsonl: step epoch loss validation_loss learning_rate; losses in nats per token
    result    as in result.json, once the training has ended
    told      codes of what it said on its way: not_finite, stopped_early, validation_is_training, ...
    error     the code of what ended it, with its values
    memory    bytes of the machine
    """

    plan: Plan
    parts: tuple[int, int, int]
    history: Sequence[Mapping[str, Any]] = ()
    result: Mapping[str, Any] | None = None
    evaluation: Evaluation | None = None
    told: Sequence[str] = ()
    error: tuple[str, Mapping[str, Any]] | None = None
    memory: int | None = None

    @property
    def losses(self) -> list[Point]:
        """The training loss where it is a finite number."""
        return _points(self.history, "loss")

    @property
    def validations(self) -> list[Point]:
        """The validation loss, that of the untouched base first if it is known."""
        found = _points(self.history, "validation_loss")
        base = self.base_loss
        return [(0, base), *found] if base is not None else found

    @property
    def base_loss(self) -> float | None:
        """The validation loss before the first update."""
        return _finite(((self.result or {}).get("validation_loss") or {}).get("base"))

    @property
    def best(self) -> Point | None:
        """The lowest validation loss and its update."""
        return min(self.validations, key=lambda point: point[1], default=None)

    @property
    def rights(self) -> list[Point]:
        """The share of the validation part that was right, where states were chosen by that."""
        return _points(self.history, "validation_right")

    @property
    def rate(self) -> float:
        """The learning rate that was used, or would be."""
        return _finite((self.result or {}).get("learning_rate")) or self.plan.learning_rate

    @property
    def trend(self) -> float | None:
        """The mean training loss of the last fifth over that of the first; None with fewer than 5 numbers."""
        losses = [loss for _, loss in self.losses]
        if len(losses) < 5:
            return None
        fifth = len(losses) // 5
        return fmean(losses[-fifth:]) / max(fmean(losses[:fifth]), 1e-9)

    @property
    def epochs_of_best(self) -> float | None:
        """How many epochs had passed at the best update."""
        best = self.best
        per_epoch = self.parts[0] / self.plan.batch_size
        return best[0] / per_epoch if best and per_epoch else None


def read_case(directory: Path, memory: int | None = None) -> Case:
    """The run in `directory`, finished or not. Raises TrainError `nothing_to_resume` when there is none."""
    try:
        told = read_json(directory / "plan.json")
        plan = Plan.model_validate(told["plan"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainError("nothing_to_resume", path=str(directory)) from error
    sizes = [len(_lines(directory / "data" / f"{part}.jsonl")) for part in PARTS]
    done = directory / "result.json"
    return Case(
        plan=plan,
        parts=(sizes[0], sizes[1], sizes[2]),
        history=[json.loads(line) for line in _lines(directory / "metrics.jsonl") if line.endswith("}")],
        result=read_json(done) if done.exists() else None,
        evaluation=read_evaluation(directory),
        memory=memory,
    )


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text("utf-8").split("\n") if line] if file.exists() else []


def _points(history: Sequence[Mapping[str, Any]], name: str) -> list[Point]:
    found = [(int(line["step"]), _finite(line.get(name))) for line in history]
    return [(step, loss) for step, loss in found if loss is not None]


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and isfinite(value) else None
