"""What a plan knows of the ways to tune."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from postil.errors import PlanError
from postil.model.adapt import METHODS
from postil.plan import choose, sizes
from postil.plan.estimate import memory_bytes
from postil.plan.methods import EVERY, WAYS
from postil.records import Example, Message, Method, Task
from postil.settings import for_child
from tests.plan.test_estimate import COUNTS, MACHINE, SMALL

EXAMPLES = [Example((Message("user", f"question {i}"), Message("assistant", "answer")), (i,)) for i in range(30)]
# counted in the model itself, with rank 8, 64 wide, 20 virtual tokens and the last two blocks
COUNTED = {
    "lora": 2_442_240, "pissa": 2_442_240, "full": 134_515_008, "prefix": 230_400,
}  # fmt: skip


def chosen(**wishes):
    return choose(EXAMPLES, COUNTS, SMALL, MACHINE, overrides=wishes)


def test_the_tables_hold_every_method_and_task():
    assert set(WAYS) == set(METHODS) == set(get_args(Method)) and set(EVERY) == set(get_args(Task))


@pytest.mark.parametrize("method", sorted(set(WAYS) - {"qlora"}))
def test_every_method_can_be_planned_and_learns_at_its_own_rate(method):
    plan, reasons = chosen(method=method)
    lora, _ = chosen()
    assert plan.learning_rate == pytest.approx(WAYS[method].rate * lora.learning_rate, rel=0.06)
    assert reasons["learning_rate"].why("zh") and reasons["lora_alpha"].why("zh")
    assert plan.lora_alpha == (16 if method == "rslora" else 2 * plan.r)


def test_a_wish_for_a_rate_is_not_multiplied():
    assert chosen(method="full", learning_rate="0.001")[0].learning_rate == 0.001


@pytest.mark.parametrize(
    ("wishes", "code"),
    [
        ({"method": "prompt", "task": "seq_cls"}, "method_task"),
        ({"method": "qlora", "task": "token_cls"}, "method_task"),
        ({"method": "pissa", "weight_decay": "0.1"}, "method_without"),
        ({"method": "prefix", "gradient_checkpointing": "yes"}, "method_without"),
        ({"method": "partial", "trained_modules": "last-0; rm"}, "setting_choice"),
        ({"method": "partial", "trained_modules": ""}, "setting_choice"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_starts(wishes, code):
    with pytest.raises(PlanError) as refused:
        chosen(**wishes)
    assert refused.value.code == code and refused.value.cause("zh") and refused.value.remedy("en")


def test_four_bits_are_refused_where_nothing_makes_them(monkeypatch):
    monkeypatch.setattr("postil.extras.find_spec", lambda name: None)
    with pytest.raises(PlanError) as refused:
        chosen(method="qlora")
    assert refused.value.code == "no_four_bits"


@pytest.mark.parametrize("method", COUNTED)
def test_trained_parameters_are_those_of_the_model(method):
    plan, _ = chosen(method=method, r="8")
    assert sizes.trained_parameters(SMALL.shape, plan) == COUNTED[method]


def test_what_little_is_trained_needs_little_memory():
    def memory(method, **wishes):
        plan, _ = chosen(method=method, r="8", micro_batch_tokens="512", **wishes)
        return memory_bytes(plan, COUNTS, SMALL)

    assert memory("prefix") < memory("lora") < memory("pissa") < memory("full")
    assert memory("partial", trained_modules="head") < memory("partial", trained_modules="last-20")
    assert memory("full") - memory("lora") == pytest.approx(20 * (COUNTED["full"] - COUNTED["lora"]), rel=0.01)


MEASURE = """
import sys
from postil.settings import Ranks, quiet
quiet()
import torch
from postil import flow
from postil.model.adapt import METHODS, attach, trained_parameters, weights_of
from postil.model.count import count
from postil.model.load import load_planned, load_template
from postil.model.memory import peak_bytes
from postil.plan import sizes
from postil.plan.estimate import memory_bytes
from postil.records import Plan, Split
from postil.samples import TITLES_INSTRUCTION, TITLES_SYSTEM, sample
from postil.train.learner import Learner
from postil.train.objectives.causal_lm import CausalLM

torch.set_num_threads(1)
base = flow.fetched(flow.find_base(flow.EMBEDDED))
reading = flow.Reading(system=TITLES_SYSTEM, instruction=TITLES_INSTRUCTION)
examples = flow.check(sample("titles"), reading).examples[:100]
template = load_template(base.path)
plan = Plan(method=sys.argv[1], threads=1)
told = memory_bytes(plan, count(Split(examples, (), ()), template), base)
model = attach(load_planned(base.path, plan).model, plan, str(base.path))
rows = [template.sequences(example) for example in examples]
if METHODS[plan.method].start:
    METHODS[plan.method].start(model, plan, [s.ids for row in rows for s in row])
learner = Learner(CausalLM(model, plan), plan, Ranks(0, 0, 1))
best = weights_of(model)
for step in range(2):
    learner.update(step, rows[8 * step : 8 * step + 8], 1e-4)
print(told / peak_bytes(), trained_parameters(model, plan), sizes.trained_parameters(base.shape, plan))
"""


NOW_AND_THEN = sorted(set(WAYS) - {"lora", "ia3"})  # half a minute each; qlora needs its extra


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [*sorted(set(WAYS) - set(NOW_AND_THEN)), *(pytest.param(m, marks=pytest.mark.full) for m in NOW_AND_THEN)]
)
def test_memory_is_estimated_within_a_fifth_and_parameters_exactly(method):
    """On the embedded model, each method in a process of its own: its peak is to be the method's alone."""
    done = subprocess.run([sys.executable, "-c", MEASURE, method], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2], env=for_child())  # fmt: skip
    ratio, counted, told = done.stdout.splitlines()[-1].split()
    assert 0.8 < float(ratio) < 1.25 and counted == told
