from dataclasses import replace

import pytest

from postil.plan import sizes
from postil.plan.catalog import bases
from postil.plan.counts import rough_counts
from postil.plan.estimate import bounded, cost, doubts, estimate, memory_bytes
from postil.records import Counts, Example, Machine, Message, Plan, Probe
from postil.settings import Settings

GB = 1_000_000_000
BASE = {base.name: base for base in bases()}
SMALL, LARGE = BASE["smollm2-135m-instruct"], BASE["qwen2.5-7b-instruct"]
MACHINE = Machine("Linux", 2, 16 * GB, 12 * GB, 100 * GB)
COUNTS = Counts(n=200, tokens=30_000, loss_tokens=1_400, longest=180, longest_answer=12, mean_answer=6,
                validation=30, test=50)  # fmt: skip
PLAN = Plan(n_epochs=3, batch_size=8, validation_rows=30, test_rows=50, learning_rate_probe=False, max_new_tokens=32)
PROBE = Probe("cpu", "float32", 2, 6e10, step_seconds=6.0, step_tokens=1200, generate_seconds=0.2)


def estimated(plan=PLAN, counts=COUNTS, base=SMALL, machine=MACHINE, probe=PROBE, **settings):
    return estimate(plan, counts, base, machine, probe, replace(Settings(), **settings))


def test_a_measured_step_gives_a_range_around_what_it_adds_up_to():
    low, high = estimated().seconds
    training = 3 * 30_000 * 6.0 / 1200
    assert 0.5 * training < low < training < high < 2.5 * training
    assert estimated().updates == 75 and estimated().tokens == 90_000


@pytest.mark.parametrize("change", [
    {"n_epochs": 6}, {"test_rows": 200}, {"gradient_checkpointing": True}, {"evaluations_per_epoch": 6},
    {"max_new_tokens": 512}, {"learning_rate_probe": True},
])  # fmt: skip
def test_more_work_takes_longer(change):
    assert estimated(PLAN.model_copy(update=change)).seconds[1] > estimated().seconds[1]


def test_a_job_with_a_limit_is_not_said_to_take_longer():
    whole = estimated(price_per_hour=36.0)
    short = bounded(whole, 60.0, replace(Settings(), price_per_hour=36.0))
    assert whole.seconds[1] > 60 and short.seconds == (min(60.0, whole.seconds[0]), 60.0)
    assert (short.cost[1], short.memory_bytes) == (pytest.approx(0.6), whole.memory_bytes)


def test_fewer_training_rows_take_less():
    assert estimated(PLAN.model_copy(update={"training_rows": 50})).seconds[1] < estimated().seconds[1] / 1.5


def test_the_proof_is_a_part_of_it():
    low, high = estimated().proof_seconds
    assert 0 < low < high < estimated().seconds[1] and low < estimated().seconds[0]
    twice = PLAN.model_copy(update={"test_rows": 100})
    assert estimated(twice).proof_seconds[1] > 1.5 * high
    assert estimated(PLAN.model_copy(update={"test_rows": 0})).proof_seconds == (0.0, 0.0)


def test_without_a_probe_a_larger_model_takes_longer_and_the_range_is_wide():
    small, large = estimated(probe=None), estimated(base=LARGE, probe=None)
    assert large.seconds[0] > 20 * small.seconds[0]
    assert small.seconds[1] > 1.5 * small.seconds[0]


def test_a_run_that_may_stop_early_has_a_lower_low_end():
    long = PLAN.model_copy(update={"n_epochs": 10, "patience": 2})
    never = long.model_copy(update={"patience": 30})
    assert estimated(long).seconds[0] < estimated(never).seconds[0]
    assert estimated(long).seconds[1] == estimated(never).seconds[1]


def test_the_work_is_that_of_the_formula():
    one = Counts(n=1, tokens=100, loss_tokens=10, longest=100, longest_answer=10, mean_answer=10)
    flops = sizes.training_flops(PLAN, one, SMALL.shape)
    least = 4 * SMALL.shape.body_parameters * 100 + 4 * SMALL.shape.head_parameters * 10
    assert least < flops < 1.2 * least


def test_memory_grows_with_model_width_rank_and_micro_batch():
    usual = memory_bytes(PLAN, COUNTS, SMALL)
    assert usual > 4 * SMALL.shape.parameters
    for change in ({"r": 256}, {"batch_size": 64}):
        assert memory_bytes(PLAN.model_copy(update=change), COUNTS, SMALL) > usual
    assert memory_bytes(PLAN.model_copy(update={"dtype": "bfloat16"}), COUNTS, SMALL) < usual
    assert memory_bytes(PLAN.model_copy(update={"gradient_checkpointing": True}), COUNTS, SMALL) < usual
    assert memory_bytes(PLAN, COUNTS, LARGE) > 28 * GB


def test_money_is_rent_or_electricity():
    own = replace(Settings(), price_per_hour=0.0, price_per_kwh=0.6, watts=100.0)
    assert cost(3600, own) == pytest.approx(0.06)
    assert cost(1800, replace(own, price_per_hour=10.0)) == pytest.approx(5.0)
    assert estimated(price_per_hour=10.0, currency="USD").currency == "USD"


def test_what_does_not_fit_is_said():
    needed = estimated()
    assert doubts(PLAN, COUNTS, needed, MACHINE) == ()
    poor = replace(MACHINE, free_bytes=1 * GB, disk_free_bytes=1000)
    short = PLAN.model_copy(update={"max_length": 64})
    found = doubts(short, COUNTS, needed, poor)
    assert {issue.code for issue in found} == {"memory_short", "disk_short", "longer_than_plan"}
    assert all(issue.message(lang) and issue.fix(lang) for issue in found for lang in ("zh", "en"))


def test_tokens_are_guessed_where_there_is_no_tokenizer():
    rows = [
        Example((Message("user", "夏季新款冰丝睡衣女薄款" * 3), Message("assistant", "睡衣")), (i,)) for i in range(10)
    ]
    here, there = rough_counts(rows, BASE["qwen3-0.6b"]), rough_counts(rows, SMALL, 5, 6)
    assert not here.exact and here.n == 10
    assert 0 < here.loss_tokens < here.tokens < there.tokens
    assert (there.validation, there.test) == (5, 6)
    assert here.longest <= here.tokens and here.mean_answer == pytest.approx(here.longest_answer)


@pytest.mark.parametrize(
    ("rows", "dtype", "peak"), [(8, "float32", 4.24), (13, "float32", 5.66), (8, "bfloat16", 3.12)]
)
def test_the_memory_estimate_is_near_what_was_measured(rows, dtype, peak):
    """Peaks [GB] of the embedded model with rows of 150 tokens, 7 of them learned, on two cores."""
    plan = PLAN.model_copy(update={"batch_size": rows, "dtype": dtype})
    data = replace(COUNTS, longest=150, tokens=200 * 150, loss_tokens=200 * 7)
    assert memory_bytes(plan, data, SMALL) / GB == pytest.approx(peak, rel=0.2)
