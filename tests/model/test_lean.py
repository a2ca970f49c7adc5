"""The lean pass says what transformers' own says, and is not used where it would not."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from postil.model import lean as module
from postil.model.apart import writer
from postil.model.attention import allow_packs
from postil.model.cells import Cell, Pass, Prompt, room_for
from postil.model.decode import Decoder, gives_the_same
from postil.model.lean import Lean, lean
from postil.serve.batching import linear_layers
from tests.model.test_decode import PROMPTS, differences, greedy
from tests.models import FAMILIES, in_16_bits, opened

TAKE_IT = [name for name in FAMILIES if name not in ("gemma3", "phi", "phi3")]
IDS = torch.tensor([(7 * i + 3) % 300 for i in range(40)])


def nothing(names, x, out):
    pass


def passed(model, add=nothing):
    return lean(model, linear_layers(model), add)


def logits(own, ids=IDS):
    """Of all tokens of one text."""
    sees = Pass([Prompt(Cell(room_for(len(ids)), None), 0, len(ids))], len(ids))
    return own(ids, torch.arange(len(ids)), sees, torch.arange(len(ids)))


@pytest.mark.parametrize("family", TAKE_IT)
@torch.inference_mode()
def test_it_says_what_transformers_says(base, family):
    """mistral: no further than its window, since a text that is longer is not written in this way."""
    model = opened(base(family)).model
    own, ids = passed(model), IDS[:24] if family == "mistral" else IDS
    plain = model(input_ids=ids[None], use_cache=False).logits[0]
    assert (logits(own, ids) - plain).abs().max() <= 1e-5 * plain.abs().max()
    assert gives_the_same(model, "cpu", own)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama2", "llama3", "qwen2", "qwen3"])
@torch.inference_mode()
def test_rows_that_come_and_go_are_written_as_alone(base, family, stored):
    loaded, beginning = opened(base(family)), list(range(200, 250))
    in_16_bits(loaded.model, stored)
    decoder = Decoder(loaded.model, "cpu", 300, forward=passed(loaded.model))
    written = greedy(decoder, PROMPTS, 20, most=40, behind=decoder.read(beginning))
    wrong, ties = differences(loaded, [[*beginning, *prompt] for prompt in PROMPTS], written)
    assert wrong == 0 and ties <= 1


@torch.inference_mode()
def test_what_is_added_to_a_layer_is_heard_in_all_that_follows(base):
    """Each layer's input and columns are its own: the same is added by hooks on transformers' pass."""
    model = opened(base("qwen2")).model
    linears = linear_layers(model)
    push = {name: torch.randn(one.in_features, one.out_features) * 0.1 for name, one in linears.items()}

    def add(names, x, out):
        out += torch.cat([x @ push[name] for name in names], -1)

    found = logits(passed(model, add))
    silent = model(input_ids=IDS[None], use_cache=False).logits[0]
    for name, linear in linears.items():
        linear.register_forward_hook(lambda _, given, out, name=name: out + given[0] @ push[name])
    wanted = model(input_ids=IDS[None], use_cache=False).logits[0]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert (wanted - silent).abs().max() > 0.1


@torch.inference_mode()
def test_without_a_second_copy_of_the_weights_it_says_the_same(base, monkeypatch):
    model = opened(base("qwen2")).model
    laid = logits(passed(model))
    monkeypatch.setattr(module, "layout_of", lambda model, instead: None)
    torch.testing.assert_close(logits(passed(model)), laid, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("family", "tied"), [("llama2", False), ("llama3", True)])
@torch.inference_mode()
def test_what_was_laid_out_is_not_kept_twice(base, family, tied):
    """But for the embeddings, whose rows are read; transformers' pass fails from then on, rather than go wrong."""
    model = opened(base(family)).model
    decoder, together = writer(model, "cpu", 100, linear_layers(model), lambda spans: None, nothing)
    assert together
    kept = {name for name, weight in model.named_parameters() if weight.dim() == 2 and weight.numel()}
    assert kept == {"model.embed_tokens.weight"}
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    (written,) = greedy(decoder, [PROMPTS[0]], 10)
    assert differences(opened(base(family)), [PROMPTS[0]], [written]) == (0, 0)
    with pytest.raises(RuntimeError):
        model(input_ids=IDS[None])


@torch.inference_mode()
def test_what_was_not_laid_out_is_kept(base, monkeypatch):
    monkeypatch.setattr(module, "layout_of", lambda model, instead: None)
    model = opened(base("llama2")).model
    _, together = writer(model, "cpu", 100, linear_layers(model), lambda spans: None, nothing)
    assert together and all(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("family", ["gemma3", "phi", "phi3"])
def test_another_kind_goes_by_transformers(base, family):
    model = opened(base(family)).model
    assert passed(model) is None
    linears = linear_layers(model)
    heard = []
    _, together = writer(model, "cpu", 20, linears, lambda spans: None, lambda names, x, out: heard.append(names))
    assert together == ()
    with torch.inference_mode():
        model(input_ids=IDS[None, :9], use_cache=False)
    assert heard and {len(names) for names in heard} == {1}


def test_other_numbers_and_other_layers_go_by_transformers(base):
    assert passed(opened(base("qwen2"), dtype="bfloat16").model) is None
    assert passed(get_peft_model(opened(base("qwen2")).model, LoraConfig(target_modules=["q_proj"]))) is None
    model = opened(base("qwen2")).model
    model.model.layers[1].mlp.up_proj = torch.nn.Identity()
    assert passed(model) is None


def test_a_layer_that_is_more_than_it_seems_is_found_out(base):
    """Of a known kind, but its layers do something else: the pass is tried before it is used."""
    model = opened(base("llama3")).model
    assert isinstance(passed(model), Lean) and gives_the_same(model, "cpu", passed(model))
    mlp = model.model.layers[1].mlp
    real = mlp.forward
    mlp.forward = lambda x: real(x) * 1.01
    allow_packs(model)
    assert not gives_the_same(model, "cpu", passed(model))
    _, together = writer(model, "cpu", 100, linear_layers(model), lambda spans: None, nothing)
    assert together == ()
