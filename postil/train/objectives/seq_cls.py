"""The label of a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from postil.model.labelling import Asked, lay_out, logits
from postil.model.labels import proven
from postil.model.reader import Labelled, Reader
from postil.model.template import Template
from postil.records import Example, Plan


class SeqCls:
    """Cross-entropy of the label, one for each text. How texts are read: `model/reader.py`."""

    def __init__(self, model: Any, plan: Plan) -> None:
        self.model, self._plan = model, plan
        self._reader: Reader | None = None

    def sequences(
        self, examples: Sequence[Example], template: Template, among: Sequence[Example] = ()
    ) -> list[list[Labelled]]:
        """Each example has one. Raises DataError `labels_wrong`, and `labels_unknown` for one that the head does not
        know (`labelset.labels_of` tells all of them)."""
        assert isinstance(template, Reader)
        self._reader = template
        proven(examples, template, self._plan.max_length)
        names = [self.model.config.id2label[i] for i in range(self.model.config.num_labels)]
        return [[template.labelled(example, names)] for example in examples]

    def weight(self, sequences: Sequence[Labelled]) -> float:
        return float(sum(len(one.targets) for one in sequences))

    def why_not_packed(self, sequences: Sequence[Labelled], most_tokens: int) -> str | None:
        """Nothing to tell: rows with labels are always padded."""
        return None

    def batches(
        self, sequences: Sequence[Labelled], most_tokens: int, *, packed: bool, learning: bool
    ) -> Iterator[Asked]:
        assert self._reader is not None, "sequences come first"
        return lay_out(sequences, most_tokens, self._plan.device, self._reader.padding)

    def sum(self, batch: Asked) -> tuple[torch.Tensor, torch.Tensor]:
        assert self._reader is not None, "sequences come first"
        said = logits(self.model, batch, self._reader)
        count = torch.tensor(float(len(batch.targets)), device=said.device)
        return F.cross_entropy(said, batch.targets, reduction="sum"), count

    def graded(self, batch: Asked) -> torch.Tensor:
        """A label counts; where texts have many of them, most of which say that nothing is there, the loss does."""
        assert self._reader is not None, "sequences come first"
        with torch.no_grad():
            scores = logits(self.model, batch, self._reader)
            count = scores.new_tensor(float(len(batch.targets)))
            loss = F.cross_entropy(scores, batch.targets, reduction="sum")
            right = (scores.argmax(-1) == batch.targets).float().sum()
        each = self._plan.metric == "exact_match"
        return torch.stack([loss, count, right * each, count * each])
