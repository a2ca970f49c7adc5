"""Every way to tune: what is true of all of them, on tiny models."""

import json
from functools import cache
from typing import get_args

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from postil.errors import AdapterError, PlanError
from postil.model import adapt
from postil.model.adapt import METHODS
from postil.model.generate import written
from postil.model.heads import HEADS
from postil.model.load import load_planned
from postil.model.loss import Loss
from postil.records import Method, Task
from postil.settings import Ranks
from postil.train.learner import Learner
from postil.train.objectives.causal_lm import CausalLM
from tests.model.test_adapt import write
from tests.models import plan, titles

IDS = torch.arange(10, 40)[None]
FOUR_BITS = pytest.mark.full  # needs the extra `qlora`, which makes every start slower
ALL = [pytest.param(name, marks=FOUR_BITS) if name == "qlora" else name for name in sorted(METHODS)]
OWN = {"full", "partial", "bottleneck"}
VIRTUAL = {"prefix", "prompt", "p_tuning"}
QUICK = {"num_virtual_tokens": 6, "bottleneck": 8, "learning_rate": 1e-2}


def test_the_tables_hold_every_method_and_task():
    assert set(METHODS) == set(get_args(Method)) and set(HEADS) == set(get_args(Task))


class Trained:
    """A method after a few updates on a tiny model, whose head and embeddings are tied."""

    def __init__(self, path, method, updates=2, **values):
        self.path, self.plan = path, plan(**{**QUICK, "method": method, **values})
        self.loaded = load_planned(path, self.plan)
        self.plain = self.loaded.model(input_ids=IDS).logits.detach()
        self.model = self.loaded.model = adapt.attach(self.loaded.model, self.plan, str(path))
        self.rows = [self.loaded.template.sequences(example) for example in titles(4)]
        if METHODS[method].start:
            METHODS[method].start(self.model, self.plan, [s.ids for row in self.rows for s in row])
        self.start = self.logits()
        self.learner = Learner(CausalLM(self.model, self.plan), self.plan, Ranks(0, 0, 1))
        self.states = [self.learner.state()]
        for step in range(updates):
            self.update(step)
            self.states.append(self.learner.state())

    def update(self, step):
        self.learner.update(step, self.rows, self.plan.learning_rate)
        self.model.eval()

    def logits(self, model=None):
        with torch.no_grad():
            return (model or self.model)(input_ids=IDS).logits[:, -IDS.shape[1] :]

    def off(self, model=None):
        with (model or self.model).disable_adapter():
            return self.logits(model)

    def save(self, directory):
        write(directory, self.model, adapt.weights_of(self.model))
        return directory


@pytest.fixture(scope="module")
def trained(base):
    """`trained(method)`: made once, not to be changed."""
    return cache(lambda method: Trained(base("llama3"), method))


@pytest.mark.parametrize("method", ALL)
def test_off_is_the_base_bit_for_bit_and_what_is_saved_is_read_again(trained, tmp_path, method):
    made = trained(method)
    tuned = made.logits()
    assert torch.equal(made.off(), made.plain) and torch.equal(made.logits(), tuned)
    assert not torch.equal(tuned, made.start)
    if METHODS[method].starts_as_base:
        assert torch.equal(made.start, made.plain)
    again = load_planned(made.path, made.plan)
    again.model = adapt.open_adapter(again.model, made.save(tmp_path / "adapter"))
    assert not any(p.requires_grad for p in again.model.parameters())
    assert torch.allclose(made.logits(again.model), tuned, atol=1e-5)
    assert torch.equal(made.off(again.model), made.plain)
    prompts = [list(row[0].ids[:length]) for row, length in zip(made.rows, (20, 20, 31), strict=False)]
    answers = written(again, prompts, max_new_tokens=5)
    assert answers == written(made.loaded, prompts, max_new_tokens=5)
    assert answers == [naive(again, prompt, 5) for prompt in prompts]
    with again.model.disable_adapter():
        assert written(again, prompts[:1], max_new_tokens=5) == [naive(again, prompts[0], 5)]


def naive(loaded, prompt, new):
    """Greedy, with one whole forward pass for each token."""
    ids = list(prompt)
    while len(ids) < len(prompt) + new:
        with torch.no_grad():
            ids.append(int(loaded.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in loaded.template.stop_ids:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("method", sorted(set(METHODS) - OWN - {"qlora"}))
def test_plain_peft_reads_it_and_says_the_same(trained, tmp_path, method):
    made = trained(method)
    made.save(tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / adapt.CONFIG).read_text()).get("init_lora_weights", True) is True
    model = AutoModelForCausalLM.from_pretrained(str(made.path), dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(model, str(tmp_path / "adapter")).eval()
    assert torch.allclose(made.logits(model), made.logits(), atol=1e-5)


@pytest.mark.parametrize("method", ALL)
def test_the_loss_and_what_is_learned_are_those_of_one_row_at_a_time(trained, method):
    made = trained(method)
    rows = [s for row in made.rows for s in row]
    batches = list(made.learner.objective.batches(rows, 2048, packed=made.learner.packs, learning=True))
    assert made.learner.packs is (method not in VIRTUAL)
    parameters = [p for p in made.model.parameters() if p.requires_grad]
    ours = sum(Loss(made.model).sum(batch) for batch in batches)
    found = torch.autograd.grad(ours, parameters)
    plain = torch.zeros(())
    for s in rows:
        logits = made.model(input_ids=torch.tensor([list(s.ids)])).logits[0, -len(s.ids) :]
        losses = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(s.ids[1:]), reduction="none")
        plain = plain + (losses * torch.tensor(s.weights[1:])).sum()
    expected = torch.autograd.grad(plain, parameters)
    assert float(ours.detach()) == pytest.approx(float(plain.detach()), rel=1e-4)
    one, other = (torch.cat([g.flatten() for g in each]) for each in (found, expected))
    assert float((one - other).norm() / other.norm()) < 1e-3


@pytest.mark.parametrize("method", ALL)
def test_a_fresh_one_given_a_state_goes_on_to_the_same_bytes(trained, method):
    """As a run does that was killed: nothing but the tensors and the moments is kept."""
    made = trained(method)
    other = Trained(made.path, method, updates=0)
    other.learner.packs = made.learner.packs
    other.learner.restore(*made.states[1])
    other.update(1)
    for one, again in zip(made.states[2], other.learner.state(), strict=True):
        assert one.keys() == again.keys() and all(torch.equal(one[key], again[key]) for key in one)


# ── what is true of some ──


@pytest.mark.parametrize("method", ["pissa", "olora"])
def test_a_start_in_the_weights_is_taken_off_again_and_does_not_move(trained, method):
    made = trained(method)
    assert torch.allclose(made.start, made.plain, atol=1e-4)
    weights, moved = made.states[2][0], made.states[0][0]
    for name, tensor in weights.items():
        half, rank = (tensor[4:], moved[name][:4]) if "lora_A" in name else (tensor[:, 4:], -moved[name][:, :4])
        assert torch.equal(half, rank), name
    assert adapt.trained_parameters(made.model, made.plan) * 2 == sum(t.numel() for t in weights.values())


def test_pissa_starts_at_the_principal_part(base):
    made = Trained(base("llama3"), "pissa", updates=0)
    layer = made.model.base_model.model.model.layers[0].mlp.up_proj
    weight = layer.get_base_layer().weight.detach()
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    principal = u[:, :4] * s[:4] @ v[:4]
    down, up = (one["default"].weight.detach() for one in (layer.lora_A, layer.lora_B))
    start = layer.scaling["default"] * up[:, :4] @ down[:4]
    assert float((start - principal).norm() / principal.norm()) < 0.05  # it is found by a random sketch


def test_eva_starts_where_the_inputs_vary_most(base):
    made = Trained(base("llama3"), "eva", updates=0)
    layer, seen = made.model.base_model.model.model.layers[1].mlp.down_proj, []
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0][0].detach()))
    for row in made.rows:
        made.model(input_ids=torch.tensor([list(row[0].ids)]))
    handle.remove()
    directions = torch.linalg.svd(torch.cat(seen), full_matrices=False)[2][:4]
    start = layer.lora_A["default"].weight
    assert torch.allclose((start @ directions.t()).abs(), torch.eye(4), atol=0.05)
    assert not layer.lora_B["default"].weight.any()


def test_lora_plus_lets_b_learn_faster(base):
    made = Trained(base("llama3"), "lora_plus", updates=1, lora_plus_ratio=8.0)
    rates = {group["times"]: group["lr"] for group in made.learner._optimizer.param_groups}
    assert rates == {1.0: 1e-2, 8.0: 8e-2}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("last-1", {"model.layers.1."}), ("last-9", {"model.layers.0.", "model.layers.1."}), ("head", {"lm_head."}),
        ("mlp", {"model.layers.0.mlp.", "model.layers.1.mlp."}),
        ("model.norm, embed_tokens", {"model.norm.", "model.embed"}),
    ],
)  # fmt: skip
def test_partial_tuning_trains_what_is_named_and_nothing_else(base, tmp_path, wanted, expected):
    made = Trained(base("llama3"), "partial", updates=1, trained_modules=wanted)
    weights = adapt.weights_of(made.model)
    assert all(any(name.startswith(start) for start in expected) for name in weights) and len(weights) >= len(expected)
    assert torch.equal(made.off(), made.plain) and not torch.equal(made.logits(), made.plain)
    again = load_planned(made.path, made.plan)
    assert torch.equal(made.logits(adapt.open_adapter(again.model, made.save(tmp_path / "a"))), made.logits())


def test_parts_that_a_model_does_not_have_are_refused(base):
    with pytest.raises(PlanError) as refused:
        Trained(base("llama3"), "partial", trained_modules="mlp, nose")
    assert refused.value.code == "unknown_trained" and "self_attn" in refused.value.remedy("en")


@pytest.mark.parametrize("method", ["lora", "nothing", 5, None])
def test_a_config_that_names_another_method_is_refused(trained, tmp_path, method):
    made = trained("partial")
    directory = made.save(tmp_path / "adapter")
    told = json.loads((directory / adapt.CONFIG).read_text())
    (directory / adapt.CONFIG).write_text(json.dumps({**told, "postil_method": method}))
    with pytest.raises(AdapterError) as refused:
        adapt.open_adapter(load_planned(made.path, plan()).model, directory)
    assert refused.value.code == ("adapter_config" if method == 5 else "adapter_misfit")


@pytest.mark.parametrize("method", ["full", "partial"])
def test_tensors_of_another_base_are_refused(base, trained, tmp_path, method):
    made = trained(method)
    made.save(tmp_path / "adapter")
    with pytest.raises(AdapterError) as refused:
        adapt.open_adapter(load_planned(base("phi"), made.plan).model, tmp_path / "adapter")
    assert refused.value.code == "adapter_misfit"


@pytest.mark.parametrize("family", ["phi", "gemma3"])
@pytest.mark.parametrize("method", ["bottleneck", "ia3"])
def test_other_families_too(base, method, family):
    made = Trained(base(family), method, updates=1)
    assert torch.equal(made.off(), made.plain) and not torch.equal(made.logits(), made.plain)
