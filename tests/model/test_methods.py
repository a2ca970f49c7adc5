"""Every way to tune: what is true of all of them, on tiny models."""

import json
from importlib.util import find_spec
from typing import get_args

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from postil.model import adapt
from postil.model.adapt import METHODS
from postil.model.generate import written
from postil.model.load import load_planned
from postil.model.loss import Loss
from postil.model.methods import TASK_TYPES
from postil.records import Method, Task
from postil.settings import Ranks
from postil.train.learner import Learner
from postil.train.objectives.causal_lm import CausalLM
from tests.model.test_adapt import write
from tests.models import plan, titles

IDS = torch.arange(10, 40)[None]
FOUR_BITS = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
ALL = [pytest.param(name, marks=FOUR_BITS) if name == "qlora" else name for name in sorted(METHODS)]
OWN = {"full", "partial", "bottleneck"}
VIRTUAL = {"prefix", "prompt", "p_tuning"}
QUICK = {"num_virtual_tokens": 6, "bottleneck": 8, "learning_rate": 1e-2}


def test_the_tables_hold_every_method_and_task():
    assert set(METHODS) == set(get_args(Method)) and set(TASK_TYPES) == set(get_args(Task))


class Trained:
    """A method after a few updates on a tiny model."""

    def __init__(self, path, method, family="qwen2", updates=2, **values):
        self.path, self.plan = path, plan(**{**QUICK, "method": method, **values})
        self.loaded = load_planned(path, self.plan)
        self.plain = self.loaded.model(input_ids=IDS).logits.detach()
        self.model = adapt.attach(self.loaded.model, self.plan, str(path))
        self.rows = [self.loaded.template.sequences(example) for example in titles(6)]
        if METHODS[method].start:
            METHODS[method].start(self.model, self.plan, [s.ids for row in self.rows for s in row])
        self.learner = Learner(CausalLM(self.model, self.plan), self.plan, Ranks(0, 0, 1))
        for step in range(updates):
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


@pytest.mark.parametrize("method", ALL)
def test_off_is_the_base_bit_for_bit_and_what_is_saved_is_read_again(base, tmp_path, method):
    made = Trained(base("qwen2"), method)
    tuned = made.logits()
    assert torch.equal(made.off(), made.plain) and torch.equal(made.logits(), tuned)
    assert not torch.equal(tuned, made.plain)
    again = load_planned(base("qwen2"), made.plan)
    again.model = adapt.open_adapter(again.model, made.save(tmp_path / "adapter"))
    assert torch.allclose(made.logits(again.model), tuned, atol=1e-5)
    assert not any(p.requires_grad for p in again.model.parameters())
    assert torch.equal(made.off(again.model), made.plain)
    made.loaded.model = made.model
    prompts = [list(row[0].ids[:length]) for row, length in zip(made.rows, (20, 20, 23, 31), strict=False)]
    answers = written(again, prompts, max_new_tokens=6)
    assert answers == written(made.loaded, prompts, max_new_tokens=6)
    assert answers == [naive(again, prompt, 6) for prompt in prompts]
    with again.model.disable_adapter(), made.model.disable_adapter():
        assert written(again, prompts, max_new_tokens=6) == [naive(again, prompt, 6) for prompt in prompts]


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
def test_plain_peft_reads_it_and_says_the_same(base, tmp_path, method):
    made = Trained(base("qwen2"), method)
    made.save(tmp_path / "adapter")
    assert json.loads((tmp_path / "adapter" / adapt.CONFIG).read_text()).get("init_lora_weights", True) is True
    model = AutoModelForCausalLM.from_pretrained(str(base("qwen2")), dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(model, str(tmp_path / "adapter")).eval()
    assert torch.allclose(made.logits(model), made.logits(), atol=1e-5)


@pytest.mark.parametrize("method", ALL)
def test_the_loss_and_what_is_learned_are_those_of_one_row_at_a_time(base, method):
    made = Trained(base("llama3"), method, updates=1)
    rows = [s for row in made.rows for s in row]
    batches = list(made.learner.objective.batches(rows, 2048, packed=made.learner.packs, learning=True))
    assert made.learner.packs is (method not in VIRTUAL)
    trained = [p for p in made.model.parameters() if p.requires_grad]
    ours = sum(Loss(made.model).sum(batch) for batch in batches)
    found = torch.autograd.grad(ours, trained)
    plain = torch.zeros(())
    for s in rows:
        logits = made.model(input_ids=torch.tensor([list(s.ids)])).logits[0, -len(s.ids) :]
        losses = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(s.ids[1:]), reduction="none")
        plain = plain + (losses * torch.tensor(s.weights[1:])).sum()
    expected = torch.autograd.grad(plain, trained)
    assert float(ours) == pytest.approx(float(plain), rel=1e-4)
    one, other = (torch.cat([g.flatten() for g in each]) for each in (found, expected))
    assert float((one - other).norm() / other.norm()) < 1e-3


@pytest.mark.parametrize("method", ALL)
def test_going_back_to_a_state_goes_on_to_the_same_bytes(base, method):
    made = Trained(base("qwen2"), method, updates=1)
    state = made.learner.state()
    made.learner.update(1, made.rows, 1e-2)
    first = made.learner.state()
    other = Trained(base("qwen2"), method, updates=0)
    other.learner.packs = made.learner.packs
    other.learner.restore(*state)
    other.learner.update(1, other.rows, 1e-2)
    for one, again in zip(first, other.learner.state(), strict=True):
        assert one.keys() == again.keys() and all(torch.equal(one[key], again[key]) for key in one)
