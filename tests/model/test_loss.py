"""The loss, with packs, shared beginnings and the head only where it counts, against the plainest way to compute it."""

import pytest
import torch
from torch.nn import functional as F

from postil.model import loss
from postil.model.adapt import attach
from postil.model.attention import Unpackable
from postil.model.layout import pack, pad
from postil.model.loss import Loss, why_not_packed
from postil.model.template import Tokens
from tests.models import CHAT, FAMILIES, dialogue, opened, plan, titles


def plainest(model, tokens, prompt_weight=0.0):
    """The weighted loss of one sequence: all logits of one row, no tricks."""
    logits = model(input_ids=torch.tensor([tokens.ids]), use_cache=False).logits[0, :-1].float()
    each = F.cross_entropy(logits, torch.tensor(tokens.ids[1:]), reduction="none")
    return (each * torch.tensor([weight or prompt_weight for weight in tokens.weights[1:]])).sum()


def gradients(model, compute):
    model.zero_grad(set_to_none=True)
    for each in compute():
        each.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


def relative(one, other):
    return float((one - other).detach().norm() / other.detach().norm())


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


@pytest.fixture
def packing(adapted):
    """With windows that the rows fit into, as they do in real models: a window of 24 tokens takes no packs."""
    model, template = adapted
    for part in (model.config.get_text_config(), *model.modules()):
        if getattr(part, "sliding_window", None):
            part.sliding_window = 4096
    return model, template


PAIRS = ("user", "a"), ("assistant", "some words", 0.5)
WEIGHTED = dialogue(*PAIRS, ("user", "b"), ("assistant", "more"))


def sequences_of(template, *examples):
    return [sequence for example in examples for sequence in template.sequences(example)]


def test_padded_rows_give_the_gradients_of_one_row_at_a_time(adapted):
    model, template = adapted
    sequences = sequences_of(template, *titles(4), CHAT, WEIGHTED)
    plain = gradients(model, lambda: [plainest(model, sequence) for sequence in sequences])
    assert relative(gradients(model, lambda: [Loss(model).sum(pad(sequences))]), plain) <= 1e-5


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packs_give_the_gradients_of_one_row_at_a_time(packing, share, checkpointing):
    """Titles under one instruction, dialogues with equal beginnings, turns that count for half."""
    model, template = packing
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
        model.train()
    sequences = sequences_of(template, *titles(6), CHAT, WEIGHTED, dialogue(*PAIRS, ("user", "c"), ("assistant", "x")))
    plain = gradients(model, lambda: [plainest(model, sequence) for sequence in sequences])
    packed = gradients(model, lambda: [Loss(model).sum(pack(sequences, share=share))])
    error = relative(packed, plain)
    print(f"relative error of the gradients: {error:.1e}")
    assert error <= 1e-5
    assert why_not_packed(model, sequences, "cpu", gradients=True) is None


def test_a_window_that_is_long_enough_does_not_matter(base):
    """One that is shorter than the rows does, and is found out."""
    loaded = opened(base("gemma3"))
    model = attach(loaded.model, plan(), "tiny")
    short = [Tokens((*range(20, 30), 9 + i, 100), (0.0,) * 10 + (1.0, 1.0), ()) for i in range(4)]
    assert why_not_packed(model, short, "cpu", gradients=True) is None
    assert relative(Loss(model).sum(pack(short)), sum(plainest(model, row) for row in short)) < 1e-6
    long = sequences_of(loaded.template, *titles(3))
    assert "window" in (why_not_packed(model, long, "cpu") or "")


def test_each_prediction_has_its_own_loss(packing):
    model, template = packing
    sequences = sequences_of(template, *titles(3), CHAT)
    batch = pack(sequences)
    with torch.inference_mode():
        each = Loss(model).each(batch) * batch.weights
        for i, sequence in enumerate(sequences):
            assert float(each[batch.owners == i].sum()) == pytest.approx(float(plainest(model, sequence)), rel=1e-5)


def test_a_head_in_many_small_steps_is_one_head(packing, monkeypatch):
    model, template = packing
    sequences = sequences_of(template, *titles(3), CHAT)
    whole = gradients(model, lambda: [Loss(model).sum(pack(sequences))])
    monkeypatch.setitem(loss.LOGITS_AT_ONCE, "cpu", 1)
    assert relative(gradients(model, lambda: [Loss(model).sum(pack(sequences))]), whole) <= 1e-6


def test_an_architecture_that_does_more_after_its_head_is_asked_as_a_whole(base):
    loaded = opened(base("gemma3"))
    loaded.model.config.get_text_config().final_logit_softcapping = 0.5
    model = attach(loaded.model, plan(), "tiny")
    rows = [Tokens((3, 4, 5 + i), (0.0, 0.0, 1.0), ()) for i in range(3)]
    assert relative(Loss(model).sum(pad(rows)), sum(plainest(model, row) for row in rows)) < 1e-6
    assert relative(Loss(model).each(pad(rows)).sum(), sum(plainest(model, row) for row in rows)) < 1e-6


def test_a_model_whose_layers_leak_from_row_to_row_is_found_out(base):
    """As a state space or a convolution over the sequence would."""
    loaded = opened(base("qwen2"))
    block = loaded.model.get_decoder().layers[0]

    def leak(_, given, out):
        return out + 3 * out.roll(1, dims=1)

    sequences = sequences_of(loaded.template, *titles(3))
    assert why_not_packed(loaded.model, sequences, "cpu") is None
    block.mlp.register_forward_hook(leak)
    assert why_not_packed(loaded.model, sequences, "cpu") is not None


def test_layers_that_are_not_given_what_is_packed_refuse(base):
    model = opened(base("llama3")).model
    batch = pack([Tokens((1, 2, 3), (0.0, 1.0, 1.0), ())])
    with pytest.raises(Unpackable):
        model(input_ids=batch.ids, attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool), use_cache=False)


def test_prompt_tokens_may_count_too(packing):
    model, template = packing
    sequences = sequences_of(template, *titles(3))
    plain = gradients(model, lambda: [plainest(model, sequence, 0.1) for sequence in sequences])
    assert relative(gradients(model, lambda: [Loss(model).sum(pack(sequences, 0.1))]), plain) <= 1e-5


def test_in_bfloat16_packing_stays_within_rounding(base):
    loaded = opened(base("qwen2"), dtype="bfloat16")
    model = attach(loaded.model, plan(dtype="bfloat16"), "tiny")
    sequences = sequences_of(loaded.template, *titles(6))
    packed, padded = (Loss(model).sum(batch) for batch in (pack(sequences), pad(sequences)))
    assert packed.dtype == torch.float32 and relative(packed, padded) < 3e-2


def test_the_hooks_are_gone_even_after_an_error(base):
    model = opened(base("qwen2")).model
    batch = pack([Tokens((1, 2, 3), (0.0, 1.0, 1.0), ())])
    before = model(input_ids=batch.ids).logits
    batch.ids[0, 0] = 10**6
    with pytest.raises(IndexError):
        Loss(model).each(batch)
    batch.ids[0, 0] = 1
    assert torch.equal(model(input_ids=batch.ids).logits, before)


def test_nothing_that_counts_is_a_loss_of_zero(base):
    model = opened(base("llama3")).model
    for make in (pack, pad):
        assert float(Loss(model).sum(make([Tokens((1, 2), (0.0, 0.0), ())]))) == 0


def test_the_longest_row_decides_whether_a_window_allows_packs(base):
    model = opened(base("mistral")).model  # its window is 24 tokens
    rows = [Tokens(tuple(range(3, 3 + length)), (1.0,) * length, ()) for length in (*[8] * 40, 30)]
    assert why_not_packed(model, rows[:-1], "cpu") is None
    assert why_not_packed(model, rows, "cpu") is not None
