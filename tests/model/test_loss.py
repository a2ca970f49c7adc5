"""The loss with the head only where it counts, and shared beginnings, against the plainest way to compute them."""

import pytest
import torch
from torch.nn import functional as F

from postil.model.adapt import attach
from postil.model.layout import lay_out
from postil.model.loss import loss_sum, losses
from postil.model.template import Tokens
from tests.models import CHAT, FAMILIES, dialogue, opened, plan, titles


def plainest(model, tokens, prompt_weight=0.0):
    """The weighted loss of one sequence: all logits of one row, no tricks."""
    logits = model(input_ids=torch.tensor([tokens.ids]), use_cache=False).logits[0, :-1].float()
    each = F.cross_entropy(logits, torch.tensor(tokens.ids[1:]), reduction="none")
    return (each * torch.tensor([weight or prompt_weight for weight in tokens.weights[1:]])).sum()


def gradients(model, compute):
    model.zero_grad(set_to_none=True)
    for loss in compute():
        loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


def relative(one, other):
    return float((one - other).norm() / other.norm())


@pytest.fixture(params=[name for name in FAMILIES if name != "deepseek"])  # its architecture is qwen2's
def adapted(base, request):
    """An adapter whose B is not zero, so that the gradients of A are not either."""
    loaded = opened(base(request.param))
    model = attach(loaded.model, plan(), "tiny")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    return model, loaded.template


def sequences_of(template, *examples):
    return [sequence for example in examples for sequence in template.sequences(example)]


def test_the_head_where_it_counts_gives_the_loss_of_all_logits(adapted):
    model, template = adapted
    weighted = dialogue(("user", "a"), ("assistant", "some words", 0.5), ("user", "b"), ("assistant", "more"))
    sequences = sequences_of(template, *titles(3), CHAT, weighted)
    whole = sum(plainest(model, sequence) for sequence in sequences)
    assert relative(loss_sum(model, lay_out(sequences)), whole) < 1e-6


def test_shared_beginnings_give_the_gradients_of_one_row_at_a_time(adapted):
    """Also where the beginning is longer than a sliding window of 24 tokens."""
    model, template = adapted
    sequences = sequences_of(template, *titles(6))
    batch = lay_out(sequences, share=True)
    assert batch.prefix is not None and batch.prefix.shape[1] > 24
    plain = gradients(model, lambda: [plainest(model, sequence) for sequence in sequences])
    shared = gradients(model, lambda: [loss_sum(model, batch)])
    error = relative(shared, plain)
    print(f"relative error of the gradients: {error:.1e}")
    assert error <= 1e-5


def test_a_batch_padded_on_the_right_gives_the_gradients_of_one_row_at_a_time(adapted):
    model, template = adapted
    sequences = sequences_of(template, *titles(4), CHAT)
    plain = gradients(model, lambda: [plainest(model, sequence) for sequence in sequences])
    padded = gradients(model, lambda: [loss_sum(model, lay_out(sequences))])
    assert relative(padded, plain) <= 1e-5


def test_prompt_tokens_may_count_too(adapted):
    model, template = adapted
    sequences = sequences_of(template, *titles(3))
    plain = gradients(model, lambda: [plainest(model, sequence, 0.1) for sequence in sequences])
    ours = gradients(model, lambda: [loss_sum(model, lay_out(sequences, 0.1, share=True))])
    assert relative(ours, plain) <= 1e-5


def test_a_beginning_as_short_and_as_long_as_it_gets(base):
    """One token short of everything, and rows of one token."""
    model = attach(opened(base("gemma3")).model, plan(), "tiny")
    common = tuple(range(20, 70))
    rows = [Tokens((*common, 9 + i, *range(100, 100 + i)), (0.0,) * 50 + (1.0,) * (1 + i), ()) for i in range(4)]
    batch = lay_out(rows, share=True)
    assert batch.prefix is not None and batch.prefix.shape[1] == 49
    assert relative(loss_sum(model, batch), sum(plainest(model, row) for row in rows)) < 1e-6


def test_in_bfloat16_sharing_stays_within_rounding(base):
    loaded = opened(base("qwen2"), dtype="bfloat16")
    model = attach(loaded.model, plan(dtype="bfloat16"), "tiny")
    sequences = sequences_of(loaded.template, *titles(6))
    shared, whole = (loss_sum(model, lay_out(sequences, share=share)) for share in (True, False))
    assert shared.dtype == torch.float32 and relative(shared, whole) < 3e-2


def test_the_hook_is_gone_even_after_an_error(base):
    model = opened(base("qwen2")).model
    batch = lay_out([Tokens((1, 2, 3), (0.0, 1.0, 1.0), ())])
    before = model(input_ids=batch.ids).logits
    batch.ids[0, 0] = 10**6
    with pytest.raises(IndexError):
        losses(model, batch)
    batch.ids[0, 0] = 1
    assert torch.equal(model(input_ids=batch.ids).logits, before)


def test_nothing_that_counts_is_a_loss_of_zero(base):
    assert float(loss_sum(opened(base("llama3")).model, lay_out([Tokens((1, 2), (0.0, 0.0), ())]))) == 0
