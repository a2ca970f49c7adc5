"""What pairs have in common whose tuned model tells labels apart: they open, and ask, in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch

from postil.model.adapt import open_adapter
from postil.model.labelling import MOST_TOKENS, lay_out, logits
from postil.model.labelset import Labels, read_labels
from postil.model.load import Loaded, load_planned
from postil.model.reader import Labelled, Reader
from postil.records import Adapter, Example, Message

LEAST = 1e-9  # probability of a label that was never learned


class LabelledPair:
    """The beginning of a `Pair` (`model/pair.py`)."""

    def __init__(self, loaded: Loaded, adapter: Adapter) -> None:
        self._loaded, self._labels = loaded, read_labels(adapter.path)

    @classmethod
    def open(cls, adapter: Adapter) -> Self:
        return cls(open_labelled(adapter, read_labels(adapter.path)), adapter)

    @classmethod
    def on(cls, loaded: Loaded, adapter: Adapter) -> Self:
        return cls(loaded, adapter)

    def asks(self, example: Example) -> Example:
        return example

    def losses_of_texts(self, texts: Sequence[str], *, tuned: bool) -> None:
        """It continues no text."""
        return


def open_labelled(adapter: Adapter, labels: Labels) -> Loaded:
    """The base of an adapter with its head for labels, and the adapter on it."""
    plan = adapter.plan
    torch.set_num_threads(plan.threads)
    loaded = load_planned(adapter.base_path, plan, labels.names)
    loaded.model = open_adapter(loaded.model, adapter.path)
    return loaded


def asked(loaded: Loaded, questions: Sequence[Sequence[Message]], tell: Callable[[int], None]) -> list[torch.Tensor]:
    """Log-probabilities of the tuned model: for each question [places, labels]."""
    reader = loaded.template
    assert isinstance(reader, Reader)
    read = [Labelled(tuple(ids), tuple(places), ()) for ids, places in map(reader.read, questions)]
    found: list[torch.Tensor] = [torch.empty(0)] * len(read)
    done = 0
    with torch.inference_mode():
        for batch in lay_out([one for one in read if one.places], MOST_TOKENS, loaded.device, reader.padding):
            told = torch.log_softmax(logits(loaded.model, batch, reader), -1).cpu()
            whose = [i for i, one in enumerate(read) if one.places]
            for at, owner in enumerate(batch.owners):
                found[whose[owner]] = told[batch.rows.cpu() == at]
            done += len(batch.owners)
            tell(done)
    return found
