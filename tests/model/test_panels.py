"""A model that is laid out says what it said before, and is left alone where that cannot be."""

import pytest
import torch

from postil.model import panels
from postil.model.panels import lay_in_panels, side_by_side
from tests.models import opened

IDS = torch.arange(3, 60)


def said(model, rows):
    with torch.inference_mode():
        return model(IDS[: rows * 19].view(rows, -1)).logits


@pytest.mark.parametrize("family", ["llama3", "qwen2", "gemma3", "phi"])
def test_it_says_what_it_said_before(base, family):
    """With and without biases, with the head that shares its weight with the embeddings."""
    model = opened(base(family)).model
    before = [said(model, rows) for rows in (1, 3)]
    size = lay_in_panels(model)
    linears = [one for one in model.modules() if isinstance(one, torch.nn.Linear)]
    assert size == sum(one.weight.nbytes for one in linears)
    for rows, wanted in zip((1, 3), before, strict=True):
        torch.testing.assert_close(said(model, rows), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("laid", [False, True])
def test_layers_side_by_side_are_one_product(laid):
    """Also where only some have a bias."""
    layers = [torch.nn.Linear(24, width, bias=bias) for width, bias in ((40, True), (8, False), (16, True))]
    x = torch.linspace(-1, 1, 72).view(3, 24)
    with torch.inference_mode():
        wanted = torch.cat([layer(x) for layer in layers], -1)
        for count in (1, 3):
            found = side_by_side(layers[:count], panels=laid)(x)
            torch.testing.assert_close(found, wanted[:, : found.shape[1]], atol=1e-5, rtol=1e-4)
        assert found.shape == (3, 64)


def test_hooks_on_a_layer_still_hear_it(base):
    model, heard = opened(base("qwen2")).model, []
    layer = next(one for one in model.modules() if isinstance(one, torch.nn.Linear))
    layer.register_forward_hook(lambda one, given, out: heard.append(out.shape) or out + 1)
    lay_in_panels(model)
    said(model, 1)
    assert len(heard) == 1


def test_what_learns_is_left_alone_and_so_are_other_numbers(base):
    model = opened(base("qwen2")).model
    assert lay_in_panels(model.to(torch.bfloat16)) == 0
    assert lay_in_panels(opened(base("qwen2")).model.requires_grad_(True)) == 0


def test_no_second_copy_where_memory_is_short(base, monkeypatch):
    model = opened(base("qwen2")).model
    monkeypatch.setattr(panels, "total_and_free", lambda: (1 << 30, 1000))
    assert lay_in_panels(model) == 0
    assert not any("forward" in vars(one) for one in model.modules())


def test_a_torch_without_it_leaves_the_model_as_it_is(base, monkeypatch):
    model = opened(base("qwen2")).model
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert lay_in_panels(model) == 0
    monkeypatch.undo()
    monkeypatch.setattr(panels.Panels, "__call__", lambda self, x: x.new_zeros(2, 40))
    assert lay_in_panels(model) == 0
    monkeypatch.undo()
    monkeypatch.delattr(panels.Panels, "where")  # a torch that does not say where they lie
    assert lay_in_panels(model) == 0
    monkeypatch.undo()
    assert lay_in_panels(model) > 0
