import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postil.errors import PlanError
from postil.plan import sizes
from postil.plan.catalog import bases
from postil.plan.choose import choose
from postil.plan.presets import presets
from postil.records import Counts, Example, Machine, Message, Plan, Probe

GB = 1_000_000_000
BASE = {base.name: base for base in bases()}
SMALL, LARGE = BASE["smollm2-135m-instruct"], BASE["qwen2.5-7b-instruct"]
MACHINE = Machine("Linux", 2, 16 * GB, 12 * GB, 100 * GB)
COUNTS = Counts(n=240, tokens=36_000, loss_tokens=1_700, longest=180, longest_answer=12, mean_answer=6,
                validation=30, test=30)  # fmt: skip
TITLES = [
    Example((Message("user", f"请提取商品主体：新款{i}冰丝睡衣女夏"), Message("assistant", "睡衣")), (i,))
    for i in range(5)
]
QUESTIONS = [
    Example(
        (Message("user", f"第{i}单什么时候发货？"), Message("assistant", f"您好，第{i}单下午四点前付款当天发货。")),
        (i,),
    )
    for i in range(40)
]


def counts(n, **other):
    return replace(COUNTS, n=n, tokens=150 * n, loss_tokens=7 * n, **other)


def chosen(examples=TITLES, counts=COUNTS, base=SMALL, machine=MACHINE, probe=None, preset=None, **wishes):
    return choose(examples, counts, base, machine, probe, preset, wishes)


@pytest.mark.parametrize("preset", [None, *presets()])
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_field_has_a_value_a_reason_and_a_source(preset, lang):
    plan, reasons = chosen(preset=preset)
    assert list(reasons) == list(Plan.model_fields)
    for name, choice in reasons.items():
        assert choice.value == getattr(plan, name)
        assert choice.why(lang) and choice.source


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 300_000), st.integers(1, 4000), st.integers(1, 3000), st.sampled_from(bases()),
    st.integers(1, 200), st.sampled_from([None, *presets()]), st.sampled_from([TITLES, QUESTIONS]),
)  # fmt: skip
def test_any_data_on_any_machine_gets_a_plan_that_says_why(n, length, answer, base, free, preset, examples):
    answer = min(answer, length)
    data = Counts(n, n * length, n * answer, length + 50, answer, answer, validation=2, test=2)
    plan, reasons = choose(examples, data, base, replace(MACHINE, free_bytes=free * GB), None, preset, {})
    assert all(choice.why("zh") and choice.why("en") for choice in reasons.values())
    assert plan.lora_alpha == 2 * plan.r
    assert plan.max_length <= base.shape.context
    assert plan.micro_batch_tokens >= min(384, plan.max_length)


# ── the rules of the adapter ──


def test_the_rank_has_room_for_every_learned_token():
    one = sizes.adapter_parameters(SMALL.shape, 1)
    for tokens, rank in [(1_000, 8), (8 * one, 8), (8 * one + 1, 16), (100 * one, 128), (10**9, 256)]:
        plan, _ = chosen(counts=replace(COUNTS, n=10**8, tokens=10**10, loss_tokens=tokens))
        assert plan.r == rank


def test_one_rank_counts_inputs_and_outputs_of_all_linear_layers():
    assert sizes.adapter_parameters(SMALL.shape, 1) == 30 * (4 * 576 + 576 + 576 + 192 + 192 + 3 * (576 + 1536))
    assert sizes.adapter_parameters(SMALL.shape, 8, "mlp-only") == 8 * 30 * 3 * (576 + 1536)
    assert sizes.adapter_parameters(SMALL.shape, 1, "q_proj, v_proj") == 30 * (1152 + 768)


def test_alpha_follows_a_rank_that_the_user_set():
    plan, reasons = chosen(r="32")
    assert (plan.r, plan.lora_alpha) == (32, 64)
    assert reasons["r"].source == "user" and reasons["lora_alpha"].source != "user"
    assert "8" in reasons["r"].why("en")  # what the rule would have taken


def test_there_is_no_dropout():
    assert chosen()[0].lora_dropout == 0 == chosen(preset="small_data")[0].lora_dropout


# ── the rules of the training ──


@pytest.mark.parametrize("n", [20, 33, 57, 100, 160, 500, 1999, 2000, 9000, 50_000])
def test_an_epoch_has_at_least_twenty_updates(n):
    plan, _ = chosen(counts=counts(n))
    assert math.ceil(n / plan.batch_size) >= 20
    assert plan.batch_size <= 32
    if n >= 160:
        assert plan.batch_size >= 8


@pytest.mark.parametrize(
    ("n", "usual"), [(10, 10), (4, 25), (33, 3), (34, 3), (200, 3), (8333, 3), (10_000, 2), (50_000, 1)]
)
def test_there_are_at_most_twice_the_usual_epochs(n, usual):
    plan, _ = chosen(QUESTIONS, counts(n))
    assert plan.kind == "service_qa" and plan.n_epochs == 2 * usual


def test_copywriting_is_read_less_often_than_facts_that_must_be_remembered():
    epochs = [chosen(kind=kind)[0].n_epochs for kind in ("copywriting", "consulting", "extraction", "service_qa")]
    assert epochs == sorted(epochs) and epochs[0] < epochs[-1]


def test_the_learning_rate_follows_size_and_batch():
    many = counts(1600)  # 8 rows an update
    assert chosen(counts=many)[0].learning_rate == pytest.approx(1e-3, rel=0.02)
    assert chosen(counts=many, base=BASE["qwen3-0.6b"])[0].learning_rate == pytest.approx(5e-4, rel=0.02)
    assert chosen(counts=many, base=LARGE)[0].learning_rate == pytest.approx(2.5e-4, rel=0.05)
    more, _ = chosen(counts=many, n_epochs="1", batch_size="32")
    assert more.learning_rate == pytest.approx(2e-3, rel=0.02)


def test_rates_are_tried_only_where_that_is_wished():
    plan, reasons = chosen()
    assert not plan.learning_rate_probe and reasons["learning_rate_probe"].reason == "probe_off"
    assert chosen(learning_rate_probe="yes")[0].learning_rate_probe
    assert chosen(learning_rate="2e-4")[0].learning_rate == 2e-4


def test_a_model_that_writes_is_kept_near_its_base_and_others_are_not():
    plan, reasons = chosen()
    assert plan.kl_weight == 1.0 and reasons["kl_weight"].reason == "kl_near"
    assert chosen(kl_weight="0")[0].kl_weight == 0.0
    other, reasons = chosen(task="seq_cls")
    assert other.kl_weight == 0.0 and reasons["kl_weight"].reason == "kl_off"


def test_the_estimate_counts_what_the_base_is_asked_besides():
    from postil.model.own_texts import LENGTH

    assert sizes.ANCHOR_TOKENS == LENGTH
    assert sizes.anchor_tokens(Plan(kl_weight=1.0)) == sizes.ANCHOR_TOKENS and sizes.anchor_tokens(Plan()) == 0


# ── length, kind, metric ──


def test_no_answer_is_cut():
    for longest in (1, 63, 64, 65, 1000):
        plan, _ = chosen(counts=replace(COUNTS, longest=longest))
        assert longest <= plan.max_length < longest + 64 and plan.max_length % 64 == 0


def test_where_the_model_is_too_short_the_reason_says_so():
    plan, reasons = chosen(counts=replace(COUNTS, longest=9000))
    assert plan.max_length == SMALL.shape.context
    assert reasons["max_length"].reason == "max_length_context"


@pytest.mark.parametrize(("kind", "metric"), [
    ("extraction", "exact_match"), ("service_qa", "char_f1"), ("consulting", "char_f1"), ("chat", "char_f1"),
    ("copywriting", "loss"),
])  # fmt: skip
def test_the_kind_fixes_the_metric_also_when_the_user_names_it(kind, metric):
    plan, reasons = chosen(kind=kind)
    assert plan.metric == metric and reasons["kind"].source == "user"


def test_only_copy_is_sampled():
    assert chosen(kind="copywriting")[0].temperature > 0
    assert all(chosen(kind=kind)[0].temperature == 0 for kind in ("extraction", "chat", "service_qa"))


def test_thinking_is_on_only_where_the_answers_think():
    thoughts = [Example((Message("user", "1+1?"), Message("assistant", "<think>easy</think>2")), (1,))]
    assert chosen(thoughts)[0].thinking and not chosen()[0].thinking


def test_few_test_rows_are_owned_up_to():
    assert chosen(counts=replace(COUNTS, test=19))[1]["test_rows"].reason == "test_too_few"
    assert chosen(counts=replace(COUNTS, test=20))[1]["test_rows"].reason == "test_split"


# ── the machine ──

PROBE = Probe("cuda", "bfloat16", 1, 1e14, reason={"float32": 20.0, "bfloat16": 100.0, "tried": "1, 2"})


def test_what_was_measured_decides_device_dtype_and_threads():
    plan, reasons = chosen(probe=PROBE)
    assert (plan.device, plan.dtype, plan.threads) == ("cuda", "bfloat16", 1)
    assert reasons["dtype"].source == "measured" and "100" in reasons["dtype"].why("en")


def test_tight_memory_means_smaller_micro_batches_then_computing_twice():
    base, data = BASE["qwen3-0.6b"], replace(COUNTS, longest=1000, tokens=240_000)
    seen = []
    for free in (64, 16, 8, 6, 4):
        plan, _ = chosen(counts=data, base=base, machine=replace(MACHINE, free_bytes=free * GB))
        seen.append((plan.gradient_checkpointing, -plan.micro_batch_tokens))
        assert plan.micro_batch_tokens >= plan.max_length
    assert seen[0] == (False, -2048) and seen[-1][0]


def test_a_quick_try_is_quick():
    plan, reasons = chosen(preset="quick_try", counts=counts(600, validation=30, test=50))
    assert (plan.n_epochs, plan.training_rows, plan.learning_rate_probe) == (3, 200, False)
    assert (plan.logging_steps, plan.save_steps, plan.validation_rows, plan.test_rows) == (10, 50, 30, 50)
    assert plan.batch_size == 8  # by the 200 rows that are used, not by the 600 that there are
    assert reasons["n_epochs"].source == "preset:quick_try"


def test_a_wish_comes_before_a_preset():
    plan, reasons = chosen(preset="quick_try", n_epochs="2")
    assert plan.n_epochs == 2 and reasons["n_epochs"].source == "user"


def test_a_wrong_wish_is_refused_before_anything_is_decided():
    with pytest.raises(PlanError):
        chosen(learning_rat="3")


def test_a_text_that_the_user_gave_is_not_compared_with_a_rule():
    _, reasons = chosen(system="你是客服")
    assert reasons["system"].source == "user" and "None" not in reasons["system"].why("en")


@pytest.mark.parametrize(
    ("n", "name", "more", "compiled"),
    [
        (200, "qwen2.5-7b-instruct", {}, False),
        (200_000, "qwen2.5-7b-instruct", {}, True), (200_000, "qwen3-0.6b", {}, False),
        (200_000, "qwen2.5-7b-instruct", {"gradient_checkpointing": "true"}, False),
    ],
)  # fmt: skip
def test_a_long_training_of_a_large_base_on_a_gpu_is_compiled(n, name, more, compiled):
    """What compiling takes must be won back: 200 rows are learned sooner than that, and a small base is no faster."""
    data, card = counts(n), replace(MACHINE, gpu="H", gpu_memory_bytes=80 * GB)
    plan, reasons = chosen(counts=data, base=BASE[name], probe=PROBE, machine=card, **more)
    assert plan.torch_compile is compiled and reasons["torch_compile"].why("zh")
    assert not chosen(counts=data, probe=replace(PROBE, device="cpu"))[0].torch_compile


# ── tight memory, and a card ──


@pytest.mark.parametrize("free", [GB // 4, GB, 2 * GB, 12 * GB])
def test_tight_memory_takes_the_mlp_layers_before_it_takes_attention_alone(free):
    plan, reasons = chosen(machine=replace(MACHINE, free_bytes=free))
    tight = plan.gradient_checkpointing
    assert plan.target_modules == ("mlp-only" if tight else "all-linear")
    assert reasons["target_modules"].reason == ("target_mlp_tight" if tight else "target_all_linear")
    assert (f"{free / 1e9:.1f}" in reasons["target_modules"].why("zh")) == tight


def test_both_sides_of_tight_memory_occur():
    assert {chosen(machine=replace(MACHINE, free_bytes=free))[0].target_modules for free in (GB // 4, 12 * GB)} == {
        "mlp-only", "all-linear"
    }  # fmt: skip


def test_a_wish_for_layers_is_obeyed_even_when_memory_is_tight():
    plan, reasons = chosen(machine=replace(MACHINE, free_bytes=GB // 4), target_modules="attention-only")
    assert plan.target_modules == "attention-only" and reasons["target_modules"].values["rule"] == "mlp-only"


def test_the_memory_of_the_card_counts_where_the_card_computes():
    probe = Probe("cuda", "bfloat16", 8, 1e14, gpu="H", gpu_memory_bytes=GB)
    card = replace(MACHINE, gpu="H", gpu_memory_bytes=GB)
    assert chosen(machine=card, probe=probe)[0].target_modules == "mlp-only"
    roomy = replace(card, gpu_memory_bytes=80 * GB)
    assert chosen(machine=roomy, probe=probe)[0].target_modules == "all-linear"
    unknown = replace(card, gpu_memory_bytes=0)
    assert chosen(machine=unknown, probe=probe)[0].target_modules == "all-linear"
