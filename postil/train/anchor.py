"""Keeps the tuned model near its base where the data say nothing.

At each update, besides the rows, a text of the base's own (`model/own_texts.py`) is read by both, and the
divergence KL(base || tuned) per token is added to the loss with the plan's `kl_weight`. What the base is, is known
without a second copy of it: the same weights with the adapter off.

On 200 rows each of three tasks of `benchmarks/tuning`, the 135M model, 1e-3, 4 epochs, one seed, 100 or 200 questions,
without it and with it: forgetting +0.29 and -0.01 (labels), +0.37 and -0.00 (dates), +0.51 and +0.07 (titles) nats per
token; right answers 95 and 94 %, 89 and 85 %, 8 and 15 %. More seeds and tasks have to show what it does to answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from postil.model.layout import Batch, pad
from postil.model.load import Loaded
from postil.model.loss import Loss
from postil.model.own_texts import TEXTS_FILE, as_sequence, own_texts, read_texts
from postil.settings import Ranks
from postil.store import write_json


class Anchor:
    """The texts of one run, and how far the model is from its base on them."""

    def __init__(self, model: Any, texts: Sequence[Sequence[int]], device: str) -> None:
        self._model, self._loss = model, Loss(model)
        self._batches: list[Batch] = [pad([as_sequence(tuple(ids))], device=device) for ids in texts]
        self._base: dict[int, torch.Tensor] = {}  # what the base says of each

    def pull(self, step: int, ranks: Ranks) -> torch.Tensor | None:
        """The mean divergence per token of this update's text, in nats, with its graph; of several processes one at a
        time has its turn. None: it is another's."""
        if step % ranks.world != ranks.rank:
            return None
        at = step % len(self._batches)
        batch = self._batches[at]
        base = self._base.get(at)
        if base is None:
            training = self._model.training
            self._model.eval()
            with self._model.disable_adapter():
                base = self._loss.states(batch)
            self._model.train(training)
            if self._loss.states_are_small:
                self._base[at] = base
        return self._loss.divergence(batch, base) / len(batch.targets)


def texts_of(directory: Path, loaded: Loaded, seed: int) -> list[list[int]]:
    """The texts of the run in `directory`: drawn once, so that a run that goes on reads the same.

    Raises TrainError `data_changed` when the file is not what was written.
    """
    file = directory / TEXTS_FILE
    if not file.exists():
        write_json(file, {"ids": [list(ids) for ids in own_texts(loaded, seed)]})
    return read_texts(directory)
