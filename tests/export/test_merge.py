"""Merged weights are PEFT's own merge, tensor by tensor, and the base stays as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from postil.errors import AdapterError, ExportError, PostilError
from postil.export.merge import plan_merge, read_updates, write_merged
from postil.export.plain import write_whole
from postil.model.adapt import CONFIG, WEIGHTS
from postil.model.load import load_template
from postil.model.tensors import read_header
from postil.store import read_json, sha256
from tests.models import Build, opened
from tests.serve.adapters import adapter


def by_peft(base: Path, directory: Path) -> dict[str, torch.Tensor]:
    model = PeftModel.from_pretrained(opened(base).model, str(directory)).merge_and_unload()
    return dict(model.state_dict())


def merged(base: Path, directory: Path, output: Path, dtype: str | None = None, **how: Any) -> dict[str, torch.Tensor]:
    output.mkdir()
    files = write_merged(plan_merge(base, read_updates(directory), dtype), output, **how)
    found: dict[str, torch.Tensor] = {}
    for file in files:
        read_header(file, ExportError)  # describes exactly the file's bytes
        found.update(load_file(file))
    return found


CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaled by the root of r": {"use_rslora": True},
    "layers of their own": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.mlp.up_proj": 32}},
    "few layers": {"target_modules": ["q_proj", "down_proj"]},
    "weight-decomposed": {"use_dora": True},
    "a head of its own": {"modules_to_save": ["lm_head"]},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_it_is_what_peft_merges(base: Build, tmp_path: Path, config: dict[str, Any]) -> None:
    directory = adapter(base("qwen2"), tmp_path / "adapter", 1, **config)
    if "modules_to_save" in config:
        weights = load_file(directory / WEIGHTS)
        weights["base_model.model.lm_head.weight"] *= 1.5
        save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})
    before = {file.name: sha256(file) for file in base("qwen2").iterdir()}
    ours, peft = merged(base("qwen2"), directory, tmp_path / "out"), by_peft(base("qwen2"), directory)
    untouched = load_file(base("qwen2") / "model.safetensors")
    assert ours.keys() == untouched.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, peft[name], rtol=1e-5, atol=1e-6), name
    assert any(not torch.equal(tensor, untouched[name]) for name, tensor in ours.items())
    assert before == {file.name: sha256(file) for file in base("qwen2").iterdir()}


def test_what_scales_layers_is_what_peft_merges(base: Build, tmp_path: Path) -> None:
    """(IA)³: outputs with their biases, and the inputs of the feed-forward part."""
    biased = tmp_path / "biased"
    shutil.copytree(base("qwen2"), biased)
    untouched = load_file(biased / "model.safetensors")
    for name, tensor in untouched.items():
        tensor += name.endswith("bias") * torch.arange(tensor.shape[-1])
    save_file(untouched, biased / "model.safetensors", metadata={"format": "pt"})
    directory = scaled(biased, tmp_path / "adapter")
    ours, peft = merged(biased, directory, tmp_path / "out"), by_peft(biased, directory)
    for name, tensor in ours.items():
        assert torch.allclose(tensor, peft[name], rtol=1e-5, atol=1e-6), name
    changed = {name.split(".", 3)[-1] for name, tensor in ours.items() if not torch.equal(tensor, untouched[name])}
    assert changed == {"self_attn.k_proj.weight", "self_attn.k_proj.bias", "self_attn.v_proj.weight",
                       "self_attn.v_proj.bias", "mlp.down_proj.weight"}  # fmt: skip


def scaled(base: Path, directory: Path) -> Path:
    kinds = ["k_proj", "v_proj", "down_proj"]
    config = IA3Config(task_type="CAUSAL_LM", target_modules=kinds, feedforward_modules=["down_proj"])
    model = get_peft_model(opened(base).model, config)
    torch.manual_seed(5)
    for name, tensor in model.named_parameters():
        if "ia3_l" in name:
            tensor.data = 1 + 0.3 * torch.randn(tensor.shape)
    model.save_pretrained(directory)
    return directory


def replaced(directory: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """What full and partial tuning leave: the trained tensors by their own names."""
    directory.mkdir()
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    (directory / CONFIG).write_text(json.dumps({"task_type": "CAUSAL_LM", "postil_method": "full", **config}))
    return directory


def test_trained_tensors_take_the_places_of_the_bases(base: Build, tmp_path: Path) -> None:
    own = load_file(base("llama3") / "model.safetensors")  # its words are tied
    trained = {name: tensor + 1 for name, tensor in own.items() if name != "model.norm.weight"}
    found = merged(base("llama3"), replaced(tmp_path / "a", trained), tmp_path / "out")
    assert found.keys() == own.keys()  # what was tied is tied
    assert all(torch.equal(found[name], trained.get(name, tensor)) for name, tensor in own.items())
    wrong = {"model.norm.weight": torch.zeros(5)}
    with pytest.raises(AdapterError, match="norm"):
        plan_merge(base("llama3"), read_updates(replaced(tmp_path / "b", wrong)), None)


@pytest.mark.parametrize("part", ["lm_head.weight", "model.embed_tokens.weight"])
def test_a_head_that_was_trained_alone_is_tied_no_more(base: Build, tmp_path: Path, part: str) -> None:
    own = load_file(base("llama3") / "model.safetensors")["model.embed_tokens.weight"]
    told = {"postil_method": "partial", "trained_modules": "head" if "head" in part else "embed_tokens"}
    directory = replaced(tmp_path / "a", {part: own + 1}, **told)
    output = tmp_path / "out"
    output.mkdir()
    write_whole(plan_merge(base("llama3"), read_updates(directory), None), base("llama3"),
                load_template(base("llama3")), output, None)  # fmt: skip
    model = opened(output).model
    words = {"lm_head.weight": model.lm_head.weight, "model.embed_tokens.weight": model.model.embed_tokens.weight}
    for name, tensor in words.items():
        assert torch.equal(tensor, own + 1 if name == part else own)


def test_the_dtype_of_the_base_is_kept_unless_another_is_asked(base: Build, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(base("qwen2"), half)
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(half / "model.safetensors").items()}
    save_file(tensors, half / "model.safetensors", metadata={"format": "pt"})
    directory = adapter(base("qwen2"), tmp_path / "adapter", 1)
    kept = merged(half, directory, tmp_path / "kept")
    assert {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}
    exact = merged(half, directory, tmp_path / "exact", "float32")
    assert {tensor.dtype for tensor in exact.values()} == {torch.float32}
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(exact[name].to(torch.bfloat16), kept[name])  # added in float32, rounded once


def test_shards_have_an_index_and_the_same_tensors(base: Build, tmp_path: Path) -> None:
    directory = adapter(base("llama3"), tmp_path / "adapter", 1)
    whole = merged(base("llama3"), directory, tmp_path / "whole")
    shards = merged(base("llama3"), directory, tmp_path / "shards", shard_bytes=40_000)
    assert whole.keys() == shards.keys() and all(torch.equal(whole[name], shards[name]) for name in whole)
    index = read_json(tmp_path / "shards" / "model.safetensors.index.json")
    assert set(index["weight_map"]) == set(whole) and len(set(index["weight_map"].values())) > 2
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in whole.values())
    read = opened(_dressed(base("llama3"), tmp_path / "shards")).model
    assert torch.equal(read.state_dict()["model.norm.weight"], whole["model.norm.weight"])


def _dressed(base: Path, directory: Path) -> Path:
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(base / name, directory / name)
    return directory


def test_a_base_in_shards_is_merged_too(base: Build, tmp_path: Path) -> None:
    directory = adapter(base("qwen2"), tmp_path / "adapter", 1)
    parted = tmp_path / "parted"
    opened(base("qwen2")).model.save_pretrained(parted, max_shard_size="60KB")
    assert len(list(parted.glob("*.safetensors"))) > 1
    ours = merged(parted, directory, tmp_path / "out")
    peft = by_peft(base("qwen2"), directory)
    assert all(torch.allclose(tensor, peft[name], atol=1e-6) for name, tensor in ours.items())


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"bias": "lora_only"}, "merge_kind"),
        ({"init_lora_weights": "pissa_niter_4"}, "merge_kind"),
        ({"peft_type": "PREFIX_TUNING"}, "adapter_tensor"),
        ({"trainable_token_indices": [1]}, "merge_kind"),
        ({"alpha_pattern": {".*q_proj": 4}}, "adapter_kind"),
    ],
)
def test_what_weights_cannot_say_is_refused(base: Build, tmp_path: Path, config: dict[str, Any], code: str) -> None:
    directory = adapter(base("qwen2"), tmp_path / "adapter", 1)
    told = json.loads((directory / CONFIG).read_text())
    (directory / CONFIG).write_text(json.dumps({**told, **config}))
    with pytest.raises(PostilError) as refused:
        read_updates(directory)
    assert refused.value.code == code and refused.value.remedy("zh")


def test_an_adapter_of_another_base_is_refused(base: Build, tmp_path: Path) -> None:
    updates = read_updates(adapter(base("qwen2"), tmp_path / "adapter", 1))
    shallow = tmp_path / "shallow"
    shutil.copytree(base("qwen2"), shallow)
    tensors = load_file(shallow / "model.safetensors")
    save_file({n: t for n, t in tensors.items() if ".layers.1." not in n}, shallow / "model.safetensors")
    with pytest.raises(AdapterError, match="does not fit"):
        plan_merge(shallow, updates, None)
    narrow = {n: t[:, :16].contiguous() if n.endswith("up_proj.weight") else t for n, t in tensors.items()}
    save_file(narrow, shallow / "model.safetensors")
    with pytest.raises(AdapterError, match="up_proj"):
        plan_merge(shallow, updates, None)


def test_a_layer_that_is_used_twice_is_refused(base: Build, tmp_path: Path) -> None:
    directory = adapter(base("llama3"), tmp_path / "adapter", 1, modules_to_save=["lm_head"])
    with pytest.raises(ExportError) as refused:
        plan_merge(base("llama3"), read_updates(directory), None)
    assert refused.value.code == "merge_tied"


def test_what_is_no_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError) as refused:
        read_updates(tmp_path)
    assert refused.value.code == "not_an_adapter"
