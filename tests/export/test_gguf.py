"""GGUF files: read again by transformers and by the gguf library; asked in a real llama.cpp where there is one."""

from __future__ import annotations

import shutil
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import GGUFReader
from gguf.quants import dequantize

from postil import export as room
from postil.errors import ExportError
from postil.export import gguf
from postil.export.families import FAMILIES, read_model, rope_factors
from postil.export.llamacpp import _placed, dtype_of, installed, open_llama
from postil.export.merge import Updates, merged, plan_merge, read_updates
from postil.export.vocabulary import read_vocabulary
from postil.model.load import load_template
from postil.records import Adapter
from postil.store import read_json, write_json
from tests.export.made import asked, given, nothing, wanted
from tests.models import Build
from tests.serve.adapters import adapter as by_peft

SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512,
         "initializer_range": 0.15}  # fmt: skip


def written(base: Path, adapter: Path, file: Path, kind: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    planned = plan_merge(base, read_updates(adapter), None)
    gguf.write_model(planned, base, load_template(base), file, kind, "shop")
    return file


def fields(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in GGUFReader(file).fields.items()}


@pytest.fixture(scope="module")
def adapter(base: Build, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    return given(base("qwen2"), tmp_path_factory.mktemp("adapter"))


@pytest.mark.parametrize("family", ["qwen2", "llama3"])
def test_transformers_reads_the_same_model_back(base: Build, tmp_path: Path, family: str) -> None:
    directory = by_peft(base(family), tmp_path / "adapter", 1)
    file = written(base(family), directory, tmp_path / "m.gguf", "f32")
    read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32)
    state = read.state_dict()
    for one, tensor in merged(plan_merge(base(family), read_updates(directory), None)):
        assert torch.allclose(state[one.name], tensor, atol=1e-6), one.name


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
def test_numbers_are_rounded_as_asked(base: Build, adapter: Adapter, tmp_path: Path, kind: str) -> None:
    file = written(base("qwen2"), adapter.path, tmp_path / "m.gguf", kind)
    tensors = {one.name: one for one in GGUFReader(file).tensors}
    exact = {one.name: tensor for one, tensor in merged(plan_merge(base("qwen2"), read_updates(adapter.path), None))}
    name, original = "blk.0.ffn_up.weight", exact["model.layers.0.mlp.up_proj.weight"].numpy()
    read = dequantize(np.asarray(tensors[name].data), tensors[name].tensor_type).reshape(original.shape)
    worst = {"f32": 0.0, "f16": 1e-3, "bf16": 8e-3, "q8_0": 8e-3}[kind]
    assert np.abs(read - original).max() <= worst * np.abs(original).max()
    assert tensors["output_norm.weight"].tensor_type.name == "F32"
    assert dtype_of(file) == {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}.get(kind, kind)


def test_the_header_says_what_llama_cpp_needs(base: Build, adapter: Adapter, tmp_path: Path) -> None:
    found = fields(written(base("qwen2"), adapter.path, tmp_path / "m.gguf", "f16"))
    template = load_template(base("qwen2"))
    assert found["general.architecture"] == "qwen2" and found["general.type"] == "model"
    assert found["qwen2.attention.head_count_kv"] == 2 and found["qwen2.context_length"] == 2048
    assert found["tokenizer.ggml.model"] == "gpt2" and found["tokenizer.ggml.pre"] == "qwen2"
    assert found["tokenizer.ggml.eos_token_id"] == template.end_id
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert "<|im_start|>" in found["tokenizer.chat_template"]
    assert len(found["tokenizer.ggml.tokens"]) == read_model(base("qwen2")).config.vocab_size


def test_a_vocabulary_keeps_the_kind_of_each_token(base: Build) -> None:
    template = load_template(base("qwen2"))
    found = read_vocabulary(template, 420)
    at = {token: found.kinds[i] for i, token in enumerate(found.tokens)}
    assert (at["<|im_end|>"], at["<think>"]) == (3, 4)  # control; defined by its user
    assert found.tokens[-1] == "[PAD419]" and found.kinds[-1] == 5  # not used
    assert found.merges and all(merge.count(" ") == 1 for merge in found.merges)
    pieces = read_vocabulary(load_template(base("mistral")), 420)
    kinds = dict(zip(pieces.tokens, pieces.kinds, strict=True))
    assert (kinds["<unk>"], kinds["<0x0A>"], kinds["</s>"]) == (2, 6, 3)
    assert pieces.model == "llama" and not pieces.spaced and min(pieces.scores) == -1e9 and max(pieces.scores) == 0.0


def test_llama_3_divides_its_frequencies(base: Build, tmp_path: Path) -> None:
    scaled = tmp_path / "scaled"
    shutil.copytree(base("llama3"), scaled)
    config = read_json(scaled / "config.json")
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}  # fmt: skip
    write_json(scaled / "config.json", {**config, "rope_parameters": rope})
    factors = rope_factors(read_model(scaled))
    model = transformers.AutoModelForCausalLM.from_pretrained(scaled)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base("llama3"))
    config_theta = {**config, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
    write_json(scaled / "config.json", config_theta)
    unscaled = transformers.AutoModelForCausalLM.from_pretrained(scaled)
    assert factors is not None and plain is not None
    expected = unscaled.model.rotary_emb.inv_freq / model.model.rotary_emb.inv_freq
    assert np.allclose(factors, expected.numpy(), rtol=1e-5) and factors.max() == 8.0 and factors.min() == 1.0


def test_other_families_and_types_are_refused_before_anything_is_written(base: Build, tmp_path: Path) -> None:
    other = given(base("phi"), tmp_path / "phi")
    with pytest.raises(ExportError) as refused:
        room.export(other, wanted("gguf"), tmp_path / "out", nothing)
    assert refused.value.code == "gguf_family" and not (tmp_path / "out").exists()
    own = given(base("qwen2"), tmp_path / "qwen2")
    codes = {}
    for to, kind in (("gguf", "q9"), ("gguf-lora", "q8_0"), ("merged", "q8_0"), ("peft", "f16")):
        with pytest.raises(ExportError) as refused:
            room.export(own, wanted(to, type=kind), tmp_path / "out", nothing)
        codes[to] = refused.value.code
    assert codes == {"gguf": "gguf_type", "gguf-lora": "gguf_type", "merged": "merged_type", "peft": "no_type"}
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".tmp")] == []


def test_more_bits_off_need_llama_cpps_own_tool(
    base: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError) as refused:
        gguf.check_type("q4_k_m")
    assert refused.value.code == "quantize_tool_missing" and "q8_0" in refused.value.remedy("en")
    tool = tmp_path / "llama-quantize"
    tool.write_text('#!/bin/sh\n/bin/cp "$1" "$2"\n')
    tool.chmod(0o755)
    directory = by_peft(base("qwen2"), tmp_path / "adapter", 1)
    file = written(base("qwen2"), directory, tmp_path / "out" / "m.gguf", "q4_k_m")
    assert dtype_of(file) == "float16"  # what this tool makes of it: the certificate would say so
    tool.write_text("#!/bin/sh\necho no room >&2\nexit 3\n")
    with pytest.raises(ExportError) as refused:
        written(base("qwen2"), directory, tmp_path / "out" / "n.gguf", "q4_k_m")
    assert refused.value.code == "quantize_failed" and "no room" in refused.value.cause("en")
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["m.gguf"]


def test_an_adapter_alone_has_its_scale_in_it(base: Build, tmp_path: Path) -> None:
    directory = by_peft(base("qwen2"), tmp_path / "a", 1, rank_pattern={"q_proj": 2}, use_rslora=True)
    updates = read_updates(directory)
    gguf.write_adapter(updates, base("qwen2"), tmp_path / "adapter.gguf", "f32", "shop")
    found = fields(tmp_path / "adapter.gguf")
    assert (found["general.type"], found["adapter.type"]) == ("adapter", "lora")
    tensors = {one.name: np.asarray(one.data) for one in GGUFReader(tmp_path / "adapter.gguf").tensors}
    for layer, name in (("self_attn.q_proj", "attn_q"), ("mlp.down_proj", "ffn_down")):
        down, up = tensors[f"blk.1.{name}.weight.lora_a"], tensors[f"blk.1.{name}.weight.lora_b"]
        update = updates.layers[f"model.layers.1.{layer}"]
        ours = found["adapter.lora.alpha"] / len(down) * (up @ down)  # as llama.cpp adds it
        assert np.allclose(ours, update.scale * (update.up @ update.down).numpy(), atol=1e-5)


def test_an_adapter_that_is_more_is_refused(base: Build, tmp_path: Path) -> None:
    updates = read_updates(by_peft(base("qwen2"), tmp_path / "a", 1, use_dora=True))
    with pytest.raises(ExportError) as refused:
        gguf.write_adapter(updates, base("qwen2"), tmp_path / "adapter.gguf", "f16", "shop")
    assert refused.value.code == "gguf_adapter_kind"


def test_only_what_is_certain_is_said_of_tokens_within_a_character() -> None:
    assert list(_placed([7, 8, 9], [7, 8, 9])) == [(0, 0), (1, 1), (2, 2)]
    assert list(_placed([7, 8, 9], [7, 9])) == [(0, 0), (2, 1)]
    assert list(_placed([7, 7, 9], [7, 9])) == [(2, 1)]  # which of the two sevens was told, nobody knows


# ── a real llama.cpp ──


def own(name: str, base: Build, directory: Path) -> Path:
    """A base of a family that tests/models.py has none of: its own sizes, the tokenizer of Gemma 3."""
    shutil.copytree(base("gemma3"), directory)
    config = getattr(transformers, name)(vocab_size=read_json(directory / "config.json")["vocab_size"], **SIZES)
    config.query_pre_attn_scalar = config.head_dim  # as the real ones have it
    torch.manual_seed(1)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return directory


CASES = [("qwen2", {}), ("qwen3", {}), ("llama3", {}), ("llama2", {}), ("mistral", {"sliding_window": None}),
         ("gemma3", {}), ("GemmaConfig", {}), ("Gemma2Config", {}), ("untemplated", {}), ("deepseek", {})]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason="no llama.cpp (package xllamacpp)")
@pytest.mark.parametrize(("family", "change"), CASES, ids=[name for name, _ in CASES])
def test_llama_cpp_says_the_same(base: Build, tmp_path: Path, family: str, change: dict[str, Any]) -> None:
    """Each family, as a whole and as an adapter on its base: prompt tokens and greedy answers."""
    model = tmp_path / "base"
    if family.endswith("Config"):
        own(family, base, model)
    else:
        shutil.copytree(base(family), model)
    write_json(model / "config.json", {**read_json(model / "config.json"), **change})
    adapter = given(model, tmp_path / "adapter")
    forms = [("gguf", "f32", 5e-3), ("gguf-lora", "f32", 5e-3), ("gguf", "f16", 0.1)]
    for to, kind, worst in forms if family in ("llama3", "qwen3") else forms[:1]:
        made = room.export(adapter, wanted(to, type=kind), tmp_path / f"{to}-{kind}", nothing)
        certificate = made["parity"]["certificates"][0]
        assert (certificate["outcome"], certificate["door"]) == ("pass", "llama.cpp"), certificate["words"]
        assert certificate["difference"] <= worst


BROKEN = {
    "template": ("<|eot_id|>' }}", "<|eot_id|>:' }}"),
    "system_prompt": ("{{- said + ", "{%- set said = 'You are a helpful assistant. ' + said %}{{- said + "),
    "bos": ("bos_token + ", "bos_token + bos_token + "),
}


def with_end_of_its_own(base: Path, directory: Path) -> Path:
    """A base whose end token has a text by which llama.cpp does not know it."""
    shutil.copytree(base, directory)
    for file in directory.glob("*.json"):
        file.write_text(file.read_text("utf-8").replace("</s>", "<fin>"), "utf-8")
    return directory


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason="no llama.cpp (package xllamacpp)")
@pytest.mark.parametrize("cause", [*BROKEN, "end_token", "dtype", "quantization", "weights"])
def test_llama_cpp_is_told_why_it_differs(base: Build, tmp_path: Path, cause: str) -> None:
    """The file holds another template or end, fewer bits, or the adapter merged twice as strong."""
    model = with_end_of_its_own(base("llama2"), tmp_path / "base") if cause == "end_token" else base("llama3")
    adapter, broken, file = given(model, tmp_path / "adapter"), tmp_path / "broken", tmp_path / "m.gguf"
    updates = read_updates(adapter.path)
    shutil.copytree(model, broken)
    if cause in BROKEN:
        text = (broken / "chat_template.jinja").read_text("utf-8")
        (broken / "chat_template.jinja").write_text(text.replace(*BROKEN[cause]), "utf-8")
    if cause == "weights":
        updates = Updates({name: replace(one, scale=2 * one.scale) for name, one in updates.layers.items()}, {}, (4,))
    kind, template = {"quantization": "q8_0", "dtype": "f16"}.get(cause, "f32"), load_template(broken)
    end = template.end_id
    if cause == "end_token":
        template = copy(template)
        template.end_id = template.tokenizer.eos_token_id = template.tokenizer.bos_token_id
    gguf.write_model(plan_merge(broken, updates, None), broken, template, file, kind, "shop")
    found = room.hold(adapter, lambda leave: leave.enter_context(open_llama(file, end=end)), asked(), "float32")
    assert (found.outcome, found.cause, found.door) == ("fail", cause, "llama.cpp"), found.rows[0]


def test_the_families_are_those_that_are_promised() -> None:
    assert {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"} == set(FAMILIES)
