"""The untouched base chooses among labels as plain transformers would score them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import transformers

from postil.model.constrained import Constrained
from postil.model.load import load_template
from postil.records import Adapter, Example, Message
from tests.models import plan

if TYPE_CHECKING:
    from tests.models import Build

LABELS = ("衣服", "dress", "a much longer label than the others")


BEFORE = (Message("user", "你好"), Message("assistant", "您好"))  # said whatever the label is: it must not count


@pytest.mark.parametrize(("family", "before"), [("qwen2", ()), ("gemma3", BEFORE), ("untemplated", BEFORE)])
def test_each_label_is_as_likely_as_its_words_and_its_end(
    family: str, before: tuple[Message, ...], base: Build
) -> None:
    path = base(family)
    question = (Message("system", "Say what it is."), *before, Message("user", "蓝色连衣裙"))
    heard: list[int] = []
    found = Constrained(Adapter(path, "tiny", path, "", plan(task="seq_cls")), LABELS).chances(
        [question] * 2, heard.append
    )
    template = load_template(path)
    asked = (*question[:-1], Message("user", f"蓝色连衣裙\n\n{' / '.join(LABELS)}"))
    model = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    sums = []
    for label in LABELS:
        row = template.sequences(Example((*asked, Message("assistant", label)), ()))[-1]
        with torch.inference_mode():
            chances = torch.log_softmax(model(input_ids=torch.tensor([row.ids])).logits[0].float(), -1)
        start = row.spans[-1].start
        sums.append(sum(float(chances[at - 1, row.ids[at]]) for at in range(start, len(row.ids))))
    torch.testing.assert_close(found[0], torch.log_softmax(torch.tensor(sums), -1), rtol=1e-4, atol=1e-4)
    assert torch.equal(found[0], found[1]) and heard == [1, 2]
