"""The adapters in memory: what is read, what is refused, what goes first, and what they take."""

import json

import pytest
import torch

from postil.errors import AdapterError
from postil.model.adapt import CONFIG, WEIGHTS, read_tensors, to_bytes
from postil.serve.batching import linear_layers
from postil.serve.lora import read_lora
from postil.serve.shelf import Shelf
from tests.models import opened
from tests.serve.adapters import adapter


@pytest.fixture(scope="module")
def path(base):
    return base("qwen2")


@pytest.fixture(scope="module")
def linears(path):
    return linear_layers(opened(path).model)


@pytest.fixture
def made(path, tmp_path):
    return lambda seed, **config: adapter(path, tmp_path / f"adapter{seed}", seed, **config)


def edited(directory, **config):
    file = directory / CONFIG
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    return directory


def test_the_one_used_longest_ago_goes(made, linears):
    paths = [made(i) for i in range(4)]
    size = read_lora(paths[0], linears).bytes
    shelf = Shelf(linears, 3 * size)
    for one in (*paths[:3], paths[0]):
        shelf.hold(one)
    shelf.hold(paths[3])
    assert shelf.paths == (paths[2], paths[0], paths[3]) and shelf.bytes == 3 * size


def test_what_is_in_use_stays(made, linears):
    paths = [made(i) for i in range(3)]
    shelf = Shelf(linears, 2 * read_lora(paths[0], linears).bytes)
    for one in paths[:2]:
        shelf.use(shelf.hold(one))
    with pytest.raises(AdapterError) as busy:
        shelf.hold(paths[2])
    assert busy.value.code == "adapters_busy"
    held = shelf.hold(paths[0])
    shelf.leave(held)
    shelf.hold(paths[2])
    assert shelf.paths == (paths[1], paths[2])


def test_a_stack_grows_and_its_places_are_used_again(made, linears, monkeypatch):
    monkeypatch.setattr("postil.serve.shelf.MOST", 4)
    shelf, paths = Shelf(linears, 1 << 30), [made(i) for i in range(6)]
    held = [shelf.hold(one) for one in paths]
    assert len({one.place for one in held}) == 6 and len({id(one.stack) for one in held}) == 1
    for one, where in zip(held, paths, strict=True):
        for name, (down, up) in read_lora(where, linears).layers.items():
            tables = one.stack.tables[(name,)]
            assert torch.equal(tables.down[one.place], down)
            assert torch.equal(tables.up_of(tables.layers[0], one.place), up)
    shelf.drop(paths[2])
    again = shelf.hold(made(7))
    assert again.place == held[2].place
    for one in shelf.paths:
        shelf.drop(one)
    assert shelf.bytes == 0 and not shelf._stacks


def test_an_adapter_written_anew_is_read_anew(made, linears):
    shelf, one = Shelf(linears, 1 << 30), made(1)
    before = shelf.hold(one)
    assert shelf.hold(one) is before
    tensors = {name: tensor * 2 for name, tensor in read_tensors(one / WEIGHTS).items()}
    (one / WEIGHTS).write_bytes(to_bytes(tensors) + b"")
    after = shelf.hold(one)
    assert after is not before and shelf.paths == (one,)


@pytest.mark.parametrize(
    ("config", "scale"),
    [({}, 2.0), ({"use_rslora": True}, 4.0), ({"alpha_pattern": {"layers.0.self_attn.q_proj": 2}}, 0.5),
     ({"alpha_pattern": {"^model.layers.0.self_attn.q_proj$": 2}}, 0.5), ({"alpha_pattern": {"o_proj": 2}}, 2.0)],
)  # fmt: skip
def test_the_scale_is_pefts(made, linears, config, scale):
    lora = read_lora(made(1, **config), linears)
    name = "model.layers.0.self_attn.q_proj"
    tensors = read_tensors(lora.path / WEIGHTS)
    expected = tensors[f"base_model.model.{name}.lora_B.weight"].t() * scale
    assert torch.allclose(lora.layers[name][1], expected) and lora.layers[name][0].shape[1] == 4


def test_what_is_more_than_two_matrices_a_layer_is_refused(made, linears):
    plain = made(1)
    told = {"use_dora": True}, {"bias": "all"}, {"init_lora_weights": "pissa_niter_4"}, {
        "alora_invocation_tokens": [5]}, {"alpha_pattern": {"(a+)+q_proj": 3}}  # fmt: skip
    kept = (plain / CONFIG).read_text()
    for config in told:
        (plain / CONFIG).write_text(kept)
        with pytest.raises(AdapterError) as refused:
            read_lora(edited(plain, **config), linears)
        assert refused.value.code == "adapter_kind", config
    with pytest.raises(AdapterError) as dora:
        read_lora(made(2, use_dora=True), linears)
    assert dora.value.code == "adapter_kind"


def test_an_adapter_of_another_base_is_refused(base, tmp_path, linears):
    with pytest.raises(AdapterError) as misfit:
        read_lora(adapter(base("qwen3"), tmp_path, 1), linears)
    assert misfit.value.code == "adapter_misfit"


def test_one_that_is_larger_than_all_room_is_refused(made, linears):
    with pytest.raises(AdapterError) as large:
        Shelf(linears, 100).hold(made(1))
    assert large.value.code == "adapter_too_large"
    with pytest.raises(AdapterError):
        Shelf(linears, 100).hold(made(1) / "none")
