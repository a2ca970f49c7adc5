"""The loss of a batch of padded rows is that of the rows alone, and transformers' own."""

from __future__ import annotations

import pytest
import torch

from postil.errors import DataError
from postil.model import adapt
from postil.model.load import load_base
from postil.train.objectives.seq_2_seq_lm import Seq2SeqLM
from tests.models import dialogue, plan
from tests.sided import build_bart, build_t5, rewrites

PLAN = plan(task="seq_2_seq_lm", max_length=128)


@pytest.fixture(scope="module", params=["t5", "t5 tied", "bart"])
def model(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("sided")
    build_bart(directory) if request.param == "bart" else build_t5(directory, gated=request.param == "t5")
    loaded = load_base(directory, task="seq_2_seq_lm")
    return loaded, adapt.attach(loaded.model, PLAN, str(directory)).eval()


def test_loss_and_gradient_are_those_of_single_rows(model):
    loaded, adapted = model
    learned = Seq2SeqLM(adapted, PLAN)
    rows = [row for own in learned.sequences(rewrites(9), loaded.template) for row in own]
    total = learned.weight(rows)
    for row in rows:
        ids, labels = torch.tensor([row.ids[: row.source]]), torch.tensor([row.ids[row.source :]])
        loss = adapted(input_ids=ids, labels=labels).loss * labels.shape[1] / total  # the mean over its tokens
        loss.backward()
    plain = torch.cat([p.grad.flatten() for p in adapted.parameters() if p.grad is not None])
    adapted.zero_grad()
    batches = list(learned.batches(rows, 120, packed=False, learning=True))
    for batch in batches:
        (learned.sum(batch)[0] / total).backward()
    ours = torch.cat([p.grad.flatten() for p in adapted.parameters() if p.grad is not None])
    adapted.zero_grad()
    assert len(batches) > 2 and all(b.source.numel() + b.wanted.numel() <= 120 for b in batches)
    assert (ours - plain).norm() <= 1e-5 * plain.norm()
    assert sum(float(b.weights.sum()) for b in batches) == total


def test_every_linear_layer_of_both_sides_is_tuned(model):
    names = {name for name, p in model[1].named_parameters() if p.requires_grad}
    assert any("encoder" in name for name in names) and any("decoder" in name for name in names)
    assert not any("lm_head" in name or "shared" in name for name in names)


def test_what_the_vocabulary_cannot_write_is_refused(model):
    loaded, adapted = model
    learned, end = Seq2SeqLM(adapted, PLAN), loaded.tokenizer.eos_token
    bad = [dialogue(("user", "the title"), ("assistant", f"dress {end} and more"), rows=(7,)),
           dialogue(("user", "so " * 200), ("assistant", "dress"), rows=(8,))]  # fmt: skip
    with pytest.raises(DataError) as refused:
        learned.sequences([*rewrites(3), *bad], loaded.template)
    spelt = loaded.model.config.model_type == "bart"  # its bytes can write a mark as the text that it is
    assert refused.value.code == "labels_wrong" and refused.value.rows == ((8,) if spelt else (7, 8))
