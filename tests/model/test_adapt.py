"""Adapters: which layers they stand beside, and files that are the same bytes every time and everywhere."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from postil.errors import AdapterError, PlanError, PostilError
from postil.model import adapt
from postil.model.layers import targets
from postil.settings import for_child
from tests.models import opened, plan

LLAMA = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
TARGETS = {
    "llama3": (LLAMA, ["down_proj", "gate_proj", "up_proj"]),
    "gemma3": (LLAMA, ["down_proj", "gate_proj", "up_proj"]),
    "mistral": (LLAMA, ["down_proj", "gate_proj", "up_proj"]),
    "phi": (["dense", "fc1", "fc2", "k_proj", "q_proj", "v_proj"], ["fc1", "fc2"]),
    "phi3": (["down_proj", "gate_up_proj", "o_proj", "qkv_proj"], ["down_proj", "gate_up_proj"]),
}


@pytest.mark.parametrize("family", TARGETS)
def test_layers_are_found_by_what_they_are(base, family):
    model = opened(base(family)).model
    every, mlp = TARGETS[family]
    assert targets(model, "all-linear") == every
    assert targets(model, "mlp-only") == mlp
    assert targets(model, "attention-only") == sorted(set(every) - set(mlp))


def test_layers_may_be_named_and_unknown_ones_are_refused(base):
    model = opened(base("phi")).model
    assert targets(model, "fc2, fc1,fc1") == ["fc1", "fc2"]
    for wrong in ("q_proj, gate_proj", "lm_head", ",", "all"):
        with pytest.raises(PlanError) as refused:
            targets(model, wrong)
        assert refused.value.code == "unknown_target" and "fc1" in refused.value.remedy("en")


@pytest.mark.parametrize("family", ["gemma3", "phi3"])
def test_the_head_and_the_embeddings_are_left_alone(base, family):
    adapted = adapt.attach(opened(base(family)).model, plan(), "x")
    assert not [name for name in adapt.weights_of(adapted) if "lm_head" in name or "embed" in name]
    assert all(("lora_" in name) == p.requires_grad for name, p in adapted.named_parameters())


def test_a_fresh_adapter_depends_on_the_seed_alone_and_changes_nothing(base):
    ids = torch.arange(10, 30)[None]
    plain = opened(base("qwen2")).model(input_ids=ids).logits
    made = []
    for seed in (1, 1, 2):
        torch.randn(7)
        adapted = adapt.attach(opened(base("qwen2")).model, plan(seed=seed), "x")
        assert torch.equal(adapted(input_ids=ids).logits, plain)
        made.append(adapt.to_bytes(adapt.weights_of(adapted)))
    assert made[0] == made[1] != made[2]


WRITE = """
import sys
from postil.settings import quiet
quiet()
from pathlib import Path
from postil.model import adapt
from postil.model.layers import targets
from tests.models import opened, plan
adapted = adapt.attach(opened(Path(sys.argv[1])).model, plan(), sys.argv[1])
sys.stdout.buffer.write(adapt.config_bytes(adapted) + adapt.to_bytes(adapt.weights_of(adapted)))
"""


@pytest.mark.slow
def test_the_files_are_the_same_bytes_in_every_process(base):
    """Sets have another order in each process."""
    found = {
        subprocess.run([sys.executable, "-c", WRITE, str(base("qwen2"))], capture_output=True, check=True,
                       env={**for_child(), "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(found) == 1 and len(next(iter(found))) > 1000


def test_the_config_is_sorted_and_says_what_peft_needs(base):
    adapted = adapt.attach(opened(base("qwen2")).model, plan(r=3, lora_alpha=7), str(base("qwen2")))
    told = json.loads(adapt.config_bytes(adapted))
    assert list(told) == sorted(told) and told["target_modules"] == LLAMA
    assert (told["r"], told["lora_alpha"], told["peft_type"], told["task_type"]) == (3, 7, "LORA", "CAUSAL_LM")
    assert told["inference_mode"] is True and told["base_model_name_or_path"] == str(base("qwen2"))


def write(directory, adapted, weights):
    directory.mkdir(exist_ok=True)
    (directory / adapt.CONFIG).write_bytes(adapt.config_bytes(adapted))
    (directory / adapt.WEIGHTS).write_bytes(adapt.to_bytes(weights))


def test_what_is_written_is_read_again(base, tmp_path):
    adapted = adapt.attach(opened(base("qwen2")).model, plan(), "x")
    weights = {name: torch.full_like(tensor, 0.01) for name, tensor in adapt.weights_of(adapted).items()}
    write(tmp_path, adapted, weights)
    again = adapt.weights_of(adapt.open_adapter(opened(base("qwen2")).model, tmp_path))
    assert again.keys() == weights.keys() and all(torch.equal(again[name], weights[name]) for name in weights)


def test_what_is_no_adapter_is_refused(base, tmp_path):
    model = opened(base("qwen2")).model
    with pytest.raises(AdapterError) as refused:
        adapt.open_adapter(model, tmp_path)
    assert refused.value.code == "not_an_adapter"


@pytest.mark.parametrize("other", ["gemma3", "phi", "llama2"])
def test_an_adapter_of_another_base_is_refused(base, tmp_path, other):
    adapted = adapt.attach(opened(base("qwen2")).model, plan(), "x")
    write(tmp_path, adapted, adapt.weights_of(adapted))
    with pytest.raises(AdapterError) as refused:
        adapt.open_adapter(opened(base(other)).model, tmp_path)
    assert refused.value.code == "adapter_misfit" and refused.value.cause("zh")


def test_an_adapter_that_lacks_a_part_is_refused(base, tmp_path):
    adapted = adapt.attach(opened(base("qwen2")).model, plan(), "x")
    weights = adapt.weights_of(adapted)
    weights.pop(sorted(weights)[3])
    write(tmp_path, adapted, weights)
    with pytest.raises(AdapterError) as refused:
        adapt.open_adapter(opened(base("qwen2")).model, tmp_path)
    assert refused.value.code == "adapter_misfit"


def test_pickled_adapters_are_not_even_looked_at(base, tmp_path):
    adapted = adapt.attach(opened(base("qwen2")).model, plan(), "x")
    write(tmp_path, adapted, adapt.weights_of(adapted))
    (tmp_path / adapt.WEIGHTS).rename(tmp_path / "adapter_model.bin")
    with pytest.raises(AdapterError) as refused:
        adapt.open_adapter(opened(base("qwen2")).model, tmp_path)
    assert refused.value.code == "not_an_adapter"


def test_a_damaged_file_is_refused(base, tmp_path):
    adapted = adapt.attach(opened(base("qwen2")).model, plan(), "x")
    write(tmp_path, adapted, adapt.weights_of(adapted))
    data = (tmp_path / adapt.WEIGHTS).read_bytes()
    (tmp_path / adapt.WEIGHTS).write_bytes(data[:-10])
    with pytest.raises(PostilError) as refused:
        adapt.open_adapter(opened(base("qwen2")).model, tmp_path)
    assert refused.value.code == "bad_safetensors"


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_what_the_disk_refuses_has_its_number(tmp_path):
    """A full disk is waited for by who knows that it is one: here a file may not grow beyond a page."""
    import resource

    before, tensors = resource.getrlimit(resource.RLIMIT_FSIZE), {"a": torch.ones(1 << 16)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError) as refused:
            adapt.write_tensors(tensors, tmp_path / "a.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.errno == errno.EFBIG and "a.safetensors" in str(refused.value)
    assert not (tmp_path / "a.safetensors").exists()
    with pytest.raises(FileNotFoundError):
        adapt.write_tensors(tensors, tmp_path / "nowhere" / "a.safetensors")
    adapt.write_tensors(tensors, tmp_path / "a.safetensors")
    assert torch.equal(adapt.read_tensors(tmp_path / "a.safetensors")["a"], tensors["a"])
