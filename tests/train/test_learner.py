"""One update is the same however it is computed; what goes wrong has a name."""

from functools import partial

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from postil.errors import TrainError
from postil.model.adapt import attach
from postil.model.loss import Loss
from postil.model.template import Tokens
from postil.settings import Ranks
from postil.train.learner import Learner
from postil.train.objectives.causal_lm import CausalLM
from tests.models import CHAT, opened, plan, titles

ALONE = Ranks(0, 0, 1)


@pytest.fixture
def make(base):
    """`make(family, **plan)`: a learner on a fresh adapter, and rows to learn from."""

    def build(family="qwen2", **values):
        chosen = plan(**values)
        loaded = opened(base(family), dtype=chosen.dtype)
        rows = [loaded.template.sequences(example) for example in (*titles(7), CHAT)]
        return Learner(CausalLM(attach(loaded.model, chosen, "tiny"), chosen), chosen, ALONE), rows

    return build


def learned(learner, rows, updates=3):
    """The adapter's tensors and the losses after a few updates."""
    losses = [learner.update(step, rows, 1e-2) for step in range(updates)]
    return torch.cat([tensor.flatten() for tensor in learner.state()[0].values()]), losses


def relative(one, other):
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("family", ["qwen2", "gemma3", "mistral", "qwen3"])
def test_an_update_does_not_depend_on_the_micro_batch(make, family):
    one, one_losses = learned(*make(family, micro_batch_tokens=100_000))
    other, other_losses = learned(*make(family, micro_batch_tokens=64))
    assert relative(other, one) < 1e-4
    assert other_losses == pytest.approx(one_losses, rel=1e-5)


@pytest.mark.parametrize("family", ["gemma3", "mistral"])
def test_rows_longer_than_the_window_are_padded_when_they_come(make, family):
    """The first rows fit into the sliding window of 24 tokens; a later one does not."""
    learner, rows = make(family)
    short = [[Tokens(s.ids[-12:], s.weights[-12:], ()) for s in row] for row in rows]
    other, _ = make(family)
    other.packs = False
    losses = []
    for one in (learner, other):
        losses.append([one.update(0, short, 1e-2), one.update(1, rows, 1e-2)])
    assert learner.packs is False and learner.lacks["not_packed"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_nor_with_prompts_that_count(make):
    one, _ = learned(*make(micro_batch_tokens=100_000, prompt_loss_weight=0.1))
    other, _ = learned(*make(micro_batch_tokens=64, prompt_loss_weight=0.1))
    assert relative(other, one) < 1e-4


def test_nor_with_gradient_checkpointing(make):
    one, _ = learned(*make("phi"))
    other, _ = learned(*make("phi", gradient_checkpointing=True))  # its config asks for dropout: the base has none
    assert relative(other, one) < 1e-4


def test_learning_lowers_the_loss(make):
    learner, rows = make()
    before = learner.validation(rows).loss
    for step in range(15):
        learner.update(step, rows, 1e-2)
    assert learner.validation(rows).loss < 0.8 * before


def out_of_memory_above(tokens, monkeypatch, error):
    """The device holds batches of so many tokens."""

    def bounded(real):
        def asked(loss, batch):
            if batch.ids.numel() > tokens:
                raise error
            return real(loss, batch)

        return asked

    for name in ("sum", "read"):
        monkeypatch.setattr(Loss, name, bounded(getattr(Loss, name)))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
    ],
)
def test_out_of_memory_halves_the_micro_batch_and_changes_nothing_else(make, monkeypatch, error):
    expected, _ = learned(*make())
    learner, rows = make()
    out_of_memory_above(300, monkeypatch, error)
    got, _ = learned(learner, rows)
    assert learner.micro_batch_tokens < 2048
    assert relative(got, expected) < 1e-4


def test_out_of_memory_in_validation_too(make, monkeypatch):
    learner, rows = make()
    expected = learner.validation(rows).loss
    out_of_memory_above(300, monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    assert learner.validation(rows).loss == pytest.approx(expected, rel=1e-5)
    assert learner.micro_batch_tokens < 2048


def test_a_row_that_never_fits_is_an_error_that_says_so(make, monkeypatch):
    learner, rows = make()
    out_of_memory_above(1, monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(TrainError) as refused:
        learner.update(0, rows, 1e-2)
    assert refused.value.code == "out_of_memory" and "gradient_checkpointing" in refused.value.remedy("en")


def test_other_errors_are_not_taken_for_too_little_memory(make, monkeypatch):
    learner, rows = make()
    out_of_memory_above(1, monkeypatch, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="multiplied"):
        learner.update(0, rows, 1e-2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_before_it_does_harm(make, monkeypatch, bad):
    learner, rows = make()
    learner.update(0, rows, 1e-2)
    before = learner.state()[0]
    real = Loss.sum
    monkeypatch.setattr(Loss, "sum", lambda loss, batch: real(loss, batch) * bad)
    with pytest.raises(TrainError) as refused:
        learner.update(1, rows, 1e-2)
    assert refused.value.code == "diverged" and refused.value.values["step"] == 2
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.state()[0].items())


def test_gradients_that_are_no_numbers_stop_too(make):
    learner, rows = make()
    _, parameter = learner._names[0]
    handle = parameter.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainError) as refused:
        learner.update(0, rows, 1e-2)
    assert refused.value.code == "diverged"
    handle.remove()


def test_what_a_failed_update_left_behind_is_forgotten(make, monkeypatch):
    """The learning-rate probe goes back after a rate that diverged: its gradients must not live on."""
    expected, _ = learned(*make())
    learner, rows = make()
    start = learner.state()
    learner.validation(rows)
    real = Loss.sum
    monkeypatch.setattr(Loss, "sum", lambda loss, batch: real(loss, batch) * float("nan"))
    with pytest.raises(TrainError):
        learner.update(0, rows, 1e-2)
    monkeypatch.setattr(Loss, "sum", real)
    learner.restore(*start)
    got, _ = learned(learner, rows)
    assert torch.equal(got, expected)


def test_going_back_to_a_state_is_exact(make):
    learner, rows = make(weight_decay=0.1)
    learner.update(0, rows, 1e-2)
    state = learner.state()
    learner.update(1, rows, 1e-2)
    first = learner.state()
    learner.restore(*state)
    learner.update(1, rows, 1e-2)
    for one, other in zip(first, learner.state(), strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_dropout_depends_on_seed_and_step_alone(make):
    learner, rows = make(lora_dropout=0.3)
    start = learner.state()

    def after(step):
        learner.restore(*start)
        learner.update(0, rows, 1e-2)
        learner.update(step, rows, 1e-2)
        return torch.cat([tensor.flatten() for tensor in learner.state()[0].values()])

    one, again, other = after(1), after(1), after(2)
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert learner.packs and not learner.objective.shares  # a shared beginning would have the same dropout for all rows


def test_validation_has_no_dropout(make):
    learner, rows = make(lora_dropout=0.5)
    learner.update(0, rows, 1e-2)
    assert learner.validation(rows) == learner.validation(rows)


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "phi", "llama2", "llama3"])
def test_rows_are_packed_where_that_is_exact(make, family):
    learner, rows = make(family)
    learner.update(0, rows[:7], 1e-2)
    assert learner.packs is True and not learner.lacks


def test_packs_that_give_another_loss_are_not_used(make):
    """Layers that see their neighbours, whatever is packed."""
    expected = [make(), make()]
    for learner, _ in expected:
        block = learner.model.get_decoder().layers[0]
        block.mlp.register_forward_hook(lambda _, given, out: out + 3 * out.roll(1, dims=1))
    (packing, rows), (padding, _) = expected
    padding.packs = False
    assert relative(learned(packing, rows[:7])[0], learned(padding, rows[:7])[0]) < 1e-6
    assert packing.packs is False and packing.lacks["not_packed"]


def all_between(model):
    """The models of these tests have no block between the first and the last: here all have a place between."""
    return "layers", [None, *model.get_decoder().layers, None]


def test_where_nothing_can_be_compiled_it_learns_without(make, monkeypatch):
    (plain, rows), (asked, _) = make(), make(torch_compile=True)

    def refuse(block, **how):
        def run(*given, **more):
            raise TorchDynamoException("no compiler here\nand a long trace")

        return run

    monkeypatch.setattr("postil.model.layers.blocks", all_between)
    monkeypatch.setattr(torch, "compile", refuse)
    expected = learned(plain, rows[:7])[0]
    assert torch.equal(learned(asked, rows[:7])[0], expected)
    assert asked.lacks == {"not_compiled": "no compiler here"}


def test_a_compiler_that_fails_elsewhere_is_not_asked_for_ever(make, monkeypatch):
    def refuse(*given):
        raise TorchDynamoException("a kernel")

    for compiles in (False, True):
        learner, rows = make(torch_compile=compiles)
        monkeypatch.setattr(learner, "_gradients", refuse)
        with pytest.raises(TorchDynamoException):
            learner.update(0, rows, 1e-2)


@pytest.mark.slow
def test_what_is_compiled_learns_the_same(make, monkeypatch):
    """Traced and differentiated as torch does it, without the C++ or Triton that it would write in the end."""
    monkeypatch.setattr("postil.model.layers.blocks", all_between)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    (plain, rows), (compiled, _) = make(), make(torch_compile=True)
    assert relative(learned(compiled, rows[:7])[0], learned(plain, rows[:7])[0]) < 1e-5
    assert not compiled.lacks


def test_in_bfloat16_the_adapter_itself_stays_in_float32(make):
    learner, rows = make(dtype="bfloat16")
    learner.update(0, rows[:7], 1e-2)
    assert {tensor.dtype for tensor in learner.state()[0].values()} == {torch.float32}
    assert learner.packs is True


def test_the_seeds_of_dropout_are_the_same_in_every_python() -> None:
    from postil.train.learner import dropout_seed

    assert dropout_seed(42, 0, 0, 0) == 3_876_895_064
    assert len({dropout_seed(42, *place) for place in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (10, 0, 0)]}) == 5
