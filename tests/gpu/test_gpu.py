"""On a GPU the product does what it does on a CPU: gradients, answers, whole runs, many adapters on one base."""

import json
from functools import cache

import pytest
import torch

from postil.errors import TrainError
from postil.model.adapt import METHODS, attach
from postil.model.generate import written
from postil.model.layout import pack, pad
from postil.model.load import load_base
from postil.model.loss import Loss, why_not_packed
from postil.model.probe import probe
from postil.serve.batching import Batch
from postil.serve.engine import Limits
from postil.train import run
from tests.model.test_loss import PAIRS, WEIGHTED, gradients, plainest, relative
from tests.models import CHAT, FAMILIES, build, dialogue, plan, titles
from tests.runs import adapter_hashes, laid_out
from tests.serve.adapters import adapter, by_peft
from tests.serve.test_batching import QUESTIONS, ask, finish
from tests.story import sheet, told

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
QUIET = {"emit": lambda event: None}
PACKING = sorted(set(FAMILIES) - {"deepseek", "mistral", "gemma3"})  # the last two have windows shorter than the rows


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """Tiny models with heads that FlexAttention takes."""
    return cache(lambda family: build(family, tmp_path_factory.mktemp(family), hidden_size=128))


@pytest.fixture(autouse=True)
def _exact():
    torch.backends.cuda.matmul.allow_tf32 = False


def adapted(path, device, dtype="float32"):
    loaded = load_base(path, device=device, dtype=dtype)
    model = attach(loaded.model, plan(), "tiny")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                start = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.05
                parameter.copy_(start)
    return model, loaded.template


def sequences_of(template):
    examples = (*titles(12), CHAT, WEIGHTED, dialogue(*PAIRS, ("user", "c"), ("assistant", "x")))
    return [sequence for example in examples for sequence in template.sequences(example)]


@pytest.mark.parametrize("family", PACKING)
def test_packs_give_the_gradients_of_one_row_at_a_time(wide, family):
    model, template = adapted(wide(family), DEVICE)
    sequences = sequences_of(template)
    with torch.device(DEVICE):
        plain = gradients(model, lambda: [plainest(model, sequence) for sequence in sequences])
    found = {
        "shared": gradients(model, lambda: [Loss(model).sum(pack(sequences, device=DEVICE))]),
        "packed": gradients(model, lambda: [Loss(model).sum(pack(sequences, device=DEVICE, share=False))]),
        "alone": gradients(model, lambda: [Loss(model).sum(pack([one], device=DEVICE)) for one in sequences]),
        "padded": gradients(model, lambda: [Loss(model).sum(pad(sequences, device=DEVICE))]),
    }
    errors = {name: relative(one, plain) for name, one in found.items()}
    print(family, {name: f"{error:.1e}" for name, error in errors.items()})
    assert all(error <= 1e-5 for error in errors.values()), errors
    assert why_not_packed(model, sequences, DEVICE, gradients=True) is None


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_what_takes_no_packs_is_padded(wide, family):
    model, template = adapted(wide(family), DEVICE)
    sequences = sequences_of(template)
    assert "window" in (why_not_packed(model, sequences, DEVICE, gradients=True) or "")
    with torch.device(DEVICE):
        plain = gradients(model, lambda: [plainest(model, sequence) for sequence in sequences])
    assert relative(gradients(model, lambda: [Loss(model).sum(pad(sequences, device=DEVICE))]), plain) <= 1e-5


def test_heads_too_narrow_for_the_kernel_are_found_out(base):
    model, template = adapted(base("llama3"), DEVICE)
    assert "narrower" in (why_not_packed(model, sequences_of(template), DEVICE, gradients=True) or "")


def test_a_pack_in_bfloat16_is_near_one_row_at_a_time(wide):
    model, template = adapted(wide("qwen2"), DEVICE, "bfloat16")
    assert why_not_packed(model, sequences_of(template), DEVICE, gradients=True) is None


@pytest.mark.parametrize("family", ["llama3", "qwen3", "phi", "gemma3"])
def test_answers_are_those_of_the_cpu(wide, family):
    here, there = load_base(wide(family)), load_base(wide(family), device=DEVICE)
    prompts = [here.template.prompt(one.question) for one in titles(9)]
    assert written(there, prompts, max_new_tokens=16) == written(here, prompts, max_new_tokens=16)


def test_a_mixed_batch_says_what_each_says_alone(wide, tmp_path):
    path = wide("qwen2")
    voices = [None, *(adapter(path, tmp_path / str(i), i) for i in range(5))]
    batch = Batch(load_base(path, device=DEVICE), Limits())
    heard = [ask(batch, i % 4, adapter=voice)[1] for i, voice in enumerate(voices)]
    finish(batch)
    assert [one.told.text for one in heard] == [by_peft(path, v, QUESTIONS[i % 4], 12) for i, v in enumerate(voices)]


def test_a_run_on_a_gpu_learns_what_one_on_a_cpu_learns(wide, tmp_path):
    losses = {}
    for device in ("cpu", DEVICE):
        laid_out(tmp_path / device, wide("llama3"), device=device)
        losses[device] = run(tmp_path / device, **QUIET)["validation_loss"]
    assert losses[DEVICE] == pytest.approx(losses["cpu"], rel=1e-3)
    assert losses[DEVICE]["tuned"] < losses[DEVICE]["base"]


@pytest.mark.parametrize("how", [{}, {"dtype": "bfloat16"}, {"torch_compile": True}])
def test_a_stopped_run_goes_on_to_the_same_bytes(wide, tmp_path, how):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for directory in (whole, parts):
        laid_out(directory, wide("llama3"), device=DEVICE, save_steps=3, **how)
    run(whole, **QUIET)
    steps = iter([False] * 4 + [True] + [False] * 999)
    with pytest.raises(TrainError):
        run(parts, stop=lambda: next(steps), **QUIET)
    run(parts, **QUIET)
    assert adapter_hashes(parts) == adapter_hashes(whole)


def test_a_micro_batch_too_large_for_the_memory_is_halved(wide, tmp_path):
    """The card lets this process have little: the first attempts fail, and what fits learns the same."""
    laid_out(tmp_path / "roomy", wide("llama3"), device=DEVICE, n_epochs=1, batch_size=24)
    roomy = run(tmp_path / "roomy", **QUIET)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_reserved()
    events = []
    torch.cuda.set_per_process_memory_fraction((held + 24 * 2**20) / total)
    try:
        laid_out(tmp_path / "tight", wide("llama3"), device=DEVICE, n_epochs=1, batch_size=24)
        tight = run(tmp_path / "tight", events.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert tight["validation_loss"]["tuned"] == pytest.approx(roomy["validation_loss"]["tuned"], rel=1e-3)
    print("micro-batch:", json.loads((tmp_path / "tight" / "result.json").read_text())["updates"], len(events))


def test_a_compiled_model_learns_the_same(tmp_path, tmp_path_factory):
    base = build("llama3", tmp_path_factory.mktemp("deep"), hidden_size=128, num_hidden_layers=5)
    losses = {}
    for compiled in (False, True):
        laid_out(tmp_path / str(compiled), base, device=DEVICE, torch_compile=compiled)
        losses[compiled] = run(tmp_path / str(compiled), **QUIET)["validation_loss"]
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_trains_on_a_gpu(wide, tmp_path, method):
    rate = {"full": 3e-4, "partial": 3e-4, "prefix": 3e-2, "prompt": 3e-2, "p_tuning": 3e-2}.get(method, 3e-3)
    laid_out(tmp_path / "a", wide("llama3"), device=DEVICE, dtype="bfloat16", method=method, n_epochs=3,
             learning_rate=rate)  # fmt: skip
    losses = run(tmp_path / "a", **QUIET)["validation_loss"]
    assert losses["tuned"] < losses["base"]


def test_the_probe_finds_the_gpu(wide):
    model = load_base(wide("qwen2"))
    rows = [sequence for one in titles(8) for sequence in model.template.sequences(one)]
    found = probe(wide("qwen2"), rows)
    assert found is not None and found.device == DEVICE and found.dtype == "bfloat16" and found.step_seconds > 0
    assert found.gpu_memory_bytes > 2**30 and found.gpu


def test_the_whole_way_on_the_command_line(wide, tmp_path):
    """check, plan, train, evaluate, compare: nobody says that there is a GPU."""
    file, directory = sheet(tmp_path / "titles.csv", 60), tmp_path / "adapter"
    how = ["--system", "Name the product.", "--set", "learning_rate_probe=false", "--set", "n_epochs=4"]
    planned = told(["plan", file, "--base", wide("qwen2"), *how])
    assert planned["plan"]["device"] == DEVICE, planned["reasons"]["device"]
    assert planned["plan"]["dtype"] == "bfloat16" and planned["reasons"]["micro_batch_tokens"]["values"]["free"]
    trained = told(["train", file, "--base", wide("qwen2"), "-o", directory, *how])
    assert trained["validation_loss"]["tuned"] < trained["validation_loss"]["base"]
    assert set(told(["evaluate", directory, "--data", file])) >= {"base", "tuned", "verdict"}
    assert set(told(["compare", directory, "1 新款 连衣裙 女"])) >= {"base", "tuned"}
