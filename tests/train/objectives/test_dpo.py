"""The loss of preferences is the paper's, whatever the layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from postil.errors import DataError
from postil.model import adapt
from postil.records import Message
from postil.train.objectives.dpo import DPO
from tests.models import dialogue, opened, plan, titles

BETA = 0.3


def preferred(count):
    """Titles with a good and a bad answer of different lengths; two of them of several turns."""
    bad = ("not that", "I do not know", "dress dress dress", "no")
    made = [replace(example, rejected=f"{bad[i % 4]} {i}") for i, example in enumerate(titles(count))]
    talk = dialogue(("user", "hi"), ("assistant", "hello"), ("user", "my order?"), ("assistant", "It was sent."))
    return [*made, replace(talk, rejected="Who knows.")]


def adapted(base, family, **values):
    """A model whose adapter already says something of its own, so that no term of the loss is zero."""
    loaded = opened(base(family))
    model = adapt.attach(loaded.model, plan(task="dpo", **values), str(base(family)))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    return loaded, model.eval()


def naive(model, template, examples):
    """Row by row: log-probabilities of the tokens of the last answer and its end, from the full logits."""

    def said(example, answer):
        prompt = template.prompt(example.question)
        whole = template.sequences(replace(example, messages=(*example.question, replace(
            example.messages[-1], content=answer))))[-1]  # fmt: skip
        ids = torch.tensor([whole.ids])
        logs = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
        each = logs.gather(1, ids[0, 1:, None])[:, 0]
        return each[len(prompt) - 1 :].sum()

    total = torch.zeros(())
    for example in examples:
        pair = [said(example, answer) for answer in (example.answer, example.rejected)]
        with torch.no_grad(), model.disable_adapter():
            reference = [said(example, answer) for answer in (example.answer, example.rejected)]
        total = total - F.logsigmoid(BETA * ((pair[0] - reference[0]) - (pair[1] - reference[1])))
    return total / len(examples)


def gradients(model):
    found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return torch.cat(found)


@pytest.mark.parametrize("most", [300, 4096])
@pytest.mark.parametrize(("family", "packed"), [("qwen2", True), ("qwen2", False), ("llama3", True)])
def test_loss_and_gradient_are_those_of_a_loop_of_single_rows(base, family, most, packed):
    loaded, model = adapted(base, family)
    examples = preferred(7)
    wanted = naive(model, loaded.template, examples)
    wanted.backward()
    plain = gradients(model)
    learned = DPO(model, plan(task="dpo", dpo_beta=BETA, micro_batch_tokens=most))
    rows = [two for own in learned.sequences(examples, loaded.template) for two in own]
    assert learned.why_not_packed(rows, most) is None
    loss = 0.0
    batches = list(learned.batches(rows, most, packed=packed, learning=True))
    for batch in batches:
        part, weight = learned.sum(batch)
        (part / learned.weight(rows)).backward()
        loss += float(part.detach()) / learned.weight(rows)
        assert weight == len(batch.reference)
    assert len(batches) > 1 or most > 300
    assert loss == pytest.approx(float(wanted), rel=1e-5)
    assert (gradients(model) - plain).norm() <= 1e-5 * plain.norm()


def test_the_reference_is_the_model_with_its_adapter_off_and_the_same_each_time(base):
    loaded, model = adapted(base, "qwen2")
    learned = DPO(model, plan(task="dpo"))
    first, again = (learned.sequences(preferred(9), loaded.template) for _ in range(2))
    assert first == again  # to the last bit
    fresh = DPO(adapt.attach(opened(base("qwen2")).model, plan(task="dpo"), str(base("qwen2"))), plan(task="dpo"))
    rows = [two for own in fresh.sequences(preferred(9), loaded.template) for two in own]
    assert [two.reference for two in rows] == [own[0].reference for own in first]
    total = sum(fresh.sum(batch)[0] for batch in fresh.batches(rows, 4096, packed=True, learning=False))
    assert float(total.detach()) / len(rows) == pytest.approx(0.693147, abs=1e-5)  # nothing is preferred yet


def test_what_would_be_learned_wrong_is_refused_for_both_answers(base):
    loaded, model = adapted(base, "llama3")
    learned = DPO(model, plan(task="dpo", max_length=200))
    good = preferred(3)
    bad = [
        replace(good[0], messages=(good[0].messages[0], Message("assistant", "long " * 300)), rows=(40,)),
        replace(good[1], rejected="long " * 300, rows=(41,)),
        replace(good[2], rejected=None, rows=(42,)),
    ]
    with pytest.raises(DataError) as refused:
        learned.sequences([*good, *bad], loaded.template)
    assert refused.value.code == "labels_wrong" and refused.value.rows == (40, 41, 42)
