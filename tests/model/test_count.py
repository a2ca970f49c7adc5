"""Counts are the tokenizer's own."""

from __future__ import annotations

from postil.model.count import count
from postil.model.load import load_template
from postil.records import Split
from tests.models import Build, titles


def test_counts_of_a_split(base: Build) -> None:
    template = load_template(base("llama2"))
    examples = titles(10)
    counts = count(Split(tuple(examples[:6]), tuple(examples[6:8]), tuple(examples[8:])), template)
    own = [sequence for example in examples[:6] for sequence in template.sequences(example)]
    assert (counts.n, counts.validation, counts.test, counts.exact) == (6, 2, 2, True)
    assert counts.tokens == sum(len(sequence.ids) for sequence in own)
    assert counts.loss_tokens == sum(span.end - span.start for sequence in own for span in sequence.spans)
    assert counts.longest >= max(len(sequence.ids) for sequence in own)
    assert all(sequence.ids[: counts.shared] == own[0].ids[: counts.shared] for sequence in own)
    assert len({sequence.ids[counts.shared] for sequence in own}) > 1
