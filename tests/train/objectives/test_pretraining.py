"""Every token of a text is learned, and once only."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from postil.model import adapt
from postil.train.objectives.pretraining import Pretraining
from tests.models import dialogue, opened, plan


def documents():
    """Of very different lengths."""
    lines = ("The order was sent yesterday. ", "蓝色连衣裙，夏季新款。", "Today a dress, tomorrow a tea cup; ")
    return [dialogue(("assistant", (lines[i % 3] * (1 + 4 * i)).strip()), rows=(i + 1,)) for i in range(5)]


@pytest.mark.parametrize("family", ["qwen2", "llama3"])
@pytest.mark.parametrize("packed", [True, False])
def test_the_loss_is_that_of_whole_documents_where_none_is_cut(base, family, packed):
    loaded = opened(base(family))
    model = adapt.attach(loaded.model, plan(task="pretraining"), str(base(family)))
    learned = Pretraining(model, plan(task="pretraining", max_length=2048))
    rows = [block for own in learned.sequences(documents(), loaded.template) for block in own]
    tokenizer = loaded.tokenizer
    total, count = 0.0, 0
    for example in documents():
        ids = torch.tensor([[*tokenizer.encode(example.answer), tokenizer.eos_token_id]])
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
        total += float(F.cross_entropy(logits[0, :-1], ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    sums = [learned.sum(batch) for batch in learned.batches(rows, 300, packed=packed, learning=True)]
    assert learned.weight(rows) == count == sum(float(weight) for _, weight in sums)
    assert sum(float(loss.detach()) for loss, _ in sums) == pytest.approx(total, rel=1e-5)
