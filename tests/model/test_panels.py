"""A model that is laid out says what it said before, and is left alone where that cannot be."""

import pytest
import torch

from postil.model import panels
from postil.model.panels import Halves, Panels, lay_out, layout_of, side_by_side
from tests.models import in_16_bits, opened

IDS = torch.arange(3, 60)


def said(model, rows, tokens=19):
    with torch.inference_mode():
        return model(IDS[: rows * tokens].view(rows, -1)).logits


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama3", "qwen2", "gemma3", "phi"])
@torch.inference_mode()
def test_it_says_what_it_said_before(base, family, stored):
    """With and without biases, with the head that shares its weight with the embeddings."""
    model = in_16_bits(opened(base(family)).model, stored)
    sizes = (1, 19), (3, 19), (1, 1), (2, 1)
    before = [said(model, *size) for size in sizes]
    size = lay_out(model)
    linears = [one for one in model.modules() if isinstance(one, torch.nn.Linear)]
    kind = Panels if stored == torch.float32 else Halves
    assert {type(one.forward) for one in linears} == {kind}
    assert size == sum(kind.bytes_of(one.weight) for one in linears)
    for shape, wanted in zip(sizes, before, strict=True):
        torch.testing.assert_close(said(model, *shape), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("laid", [None, Panels, Halves])
def test_layers_side_by_side_are_one_product(laid):
    """Also where only some have a bias."""
    layers = [torch.nn.Linear(24, width, bias=bias) for width, bias in ((40, True), (8, False), (16, True))]
    x = torch.linspace(-1, 1, 72).view(3, 24)
    with torch.inference_mode():
        for layer in layers:
            in_16_bits(layer)
        wanted = torch.cat([layer(x) for layer in layers], -1)
        for count in (1, 3):
            found = side_by_side(layers[:count], laid)(x)
            torch.testing.assert_close(found, wanted[:, : found.shape[1]], atol=1e-5, rtol=1e-4)
        assert found.shape == (3, 64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("largest", [1e-3, 0.7, 1.0, 30.0, 6e4])
@torch.inference_mode()
def test_sixteen_bits_lose_nothing(dtype, largest):
    """Weights of every size that the type can have, from the largest down to nothing, against sums in float64."""
    torch.manual_seed(0)
    sizes = torch.logspace(0, -12, 1000) * largest  # each row of its own
    linear = torch.nn.Linear(96, 1000, bias=False)
    linear.weight.copy_(((torch.rand(1000, 96) - 0.5) * 2 * sizes[:, None]).to(dtype))
    assert Halves.can_hold(linear.weight)
    x = torch.randn(5, 96)
    wanted = x.double() @ linear.weight.double().t()
    bound = 1e-6 * (x.double().abs() @ linear.weight.double().abs().t())  # 96 roundings of float32
    off = (Halves([linear])(x) - wanted).abs()
    assert bool((off <= bound + 1e-11 * largest * x.abs().sum(-1, keepdim=True)).all())


@torch.inference_mode()
def test_one_weight_of_more_bits_and_it_is_not_halved(base):
    model = in_16_bits(opened(base("qwen2")).model)
    assert layout_of(model) is Halves
    model.model.layers[1].mlp.up_proj.weight[3, 5] = 0.1
    assert layout_of(model) is Panels


def test_hooks_on_a_layer_still_hear_it(base):
    model, heard = opened(base("qwen2")).model, []
    layer = next(one for one in model.modules() if isinstance(one, torch.nn.Linear))
    layer.register_forward_hook(lambda one, given, out: heard.append(out.shape) or out + 1)
    lay_out(model)
    said(model, 1)
    assert len(heard) == 1


def test_what_learns_is_left_alone_and_so_are_other_numbers(base):
    model = opened(base("qwen2")).model
    assert lay_out(model.to(torch.bfloat16)) == 0
    assert lay_out(opened(base("qwen2")).model.requires_grad_(True)) == 0


@torch.inference_mode()
def test_no_second_copy_where_memory_is_short(base, monkeypatch):
    """One that takes the place of the first may take more."""
    model = opened(base("qwen2")).model
    size = sum(one.weight.nbytes for one in model.modules() if isinstance(one, torch.nn.Linear))
    monkeypatch.setattr(panels, "total_and_free", lambda: (1 << 30, 2 * size))
    assert lay_out(model) == 0
    assert not any("forward" in vars(one) for one in model.modules())
    assert layout_of(model, instead=True) is Panels
    monkeypatch.setattr(panels, "total_and_free", lambda: (1 << 30, size))
    assert layout_of(model, instead=True) is None


@torch.inference_mode()
def test_a_torch_without_it_leaves_the_model_as_it_is(base, monkeypatch):
    model = opened(base("qwen2")).model
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert lay_out(model) == 0
    monkeypatch.undo()
    monkeypatch.setattr(Panels, "__call__", lambda self, x: x.new_zeros(2, 40))
    assert lay_out(model) == 0
    monkeypatch.undo()
    monkeypatch.delattr(Panels, "where")  # a torch that does not say where they lie
    assert lay_out(model) == 0
    monkeypatch.undo()
    assert lay_out(model) > 0


@torch.inference_mode()
def test_a_torch_that_cannot_halve_lays_out_whole_numbers(base, monkeypatch):
    """FBGEMM is for x86 alone."""
    model = in_16_bits(opened(base("qwen2")).model)

    def without(self, linears):
        raise RuntimeError("Didn't find engine for operation quantized::linear_prepack_fp16")

    monkeypatch.setattr(Halves, "__init__", without)
    assert layout_of(model) is Panels
