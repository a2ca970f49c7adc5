"""How an example becomes proven sequences, where that is not by a chat template: one line for each such task."""

from __future__ import annotations

from collections.abc import Mapping

from postil.model.labels import Examine, examine
from postil.model.plaintext import examine_text
from postil.model.preferences import examine_both
from postil.model.rewriting import examine_sides

READINGS: Mapping[str, Examine] = {
    "pretraining": examine_text,
    "dpo": examine_both,
    "seq_2_seq_lm": examine_sides,
}


def reading(task: str) -> Examine:
    """What makes and proves the sequences of a task."""
    return READINGS.get(task, examine)
