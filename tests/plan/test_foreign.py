"""Settings of other programs: what is taken over, what is not, and why; ugly files first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from postil.errors import PlanError
from postil.locales import LANGUAGES
from postil.plan import Foreign, read_foreign
from postil.records import Plan
from tests.models import titles
from tests.story import told

LLAMA_FACTORY = """\
### model
model_name_or_path: Qwen/Qwen3-0.6B
trust_remote_code: true

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 16
lora_alpha: 32
lora_target: all
use_rslora: false

### dataset
dataset: shop
template: qwen3_nothink
cutoff_len: 2048
max_samples: 1000
preprocessing_num_workers: 16

### train
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
learning_rate: 1e-4
num_train_epochs: 2.5
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
neftune_noise_alpha: 5
val_size: 0.1
default_system: 你是店员。
output_dir: saves/x
"""
AXOLOTL = """\
base_model: Qwen/Qwen2.5-0.5B-Instruct
adapter: lora
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_modules: [q_proj, v_proj]
datasets:
  - path: data/shop.jsonl
    type: chat_template
  - path: org/other
sequence_len: 4096
sample_packing: true
micro_batch_size: 4
gradient_accumulation_steps: 2
num_epochs: 3
optimizer: adamw_8bit
lr_scheduler: rex
learning_rate: 0.0002
train_on_inputs: true
bf16: auto
gradient_checkpointing: true
early_stopping_patience: 2
val_set_size: 50
load_in_4bit: true
"""


def read(tmp_path: Path, text: str | bytes, name: str = "config.yaml") -> Foreign:
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_foreign(file)


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe\x00bad", "just words", "- a\n- b", "a: [1", "1: 2\nbase_model: x", "base_model: &a [1]\nx: *a",
        "base_model: !!python/object/apply:os.system ['echo hacked']", "", "a: " + "[" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_file_of_settings_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(PlanError) as refused:
        read(tmp_path, text)
    assert refused.value.code == "foreign_unreadable" and refused.value.remedy("zh")


def test_what_is_of_neither_program_is_said(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as refused:
        read(tmp_path, "learning_rate: 1.0e-4\nepochs: 3\n")
    assert refused.value.code == "foreign_unknown"
    with pytest.raises(PlanError) as refused:
        read_foreign(tmp_path / "none.yaml")
    assert refused.value.code == "foreign_unreadable"


def test_a_value_that_no_plan_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as refused:
        read(tmp_path, "base_model: x\nlora_r: 100000\n")
    assert refused.value.code == "setting_range"


def why(found: Foreign) -> dict[str, str]:
    return {one.key: one.why for one in found.unmapped}


def test_llama_factory(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    (place / "shop.json").write_text("[]")
    info = {"shop": {"file_name": "shop.json", "columns": {"prompt": "title", "response": "product"}}}
    (place / "dataset_info.json").write_text(json.dumps(info))
    found = read(tmp_path, LLAMA_FACTORY)
    assert (found.program, found.base, found.data) == ("LLaMA-Factory", "Qwen/Qwen3-0.6B", place / "shop.json")
    assert found.columns == {"question": "title", "answer": "product"}
    assert found.settings == {
        "r": 16, "lora_alpha": 32.0, "target_modules": "all-linear", "max_length": 2048, "training_rows": 1000,
        "batch_size": 16, "learning_rate": 1e-4, "n_epochs": 3, "lr_scheduler": "cosine", "warmup_ratio": 0.1,
        "dtype": "bfloat16", "system": "你是店员。", "task": "causal_lm", "method": "lora",
    }  # fmt: skip
    assert Plan(**found.settings).batch_size == 16
    assert why(found) == {
        "trust_remote_code": "unknown", "do_train": "ours", "use_rslora": "off", "template": "ours",
        "preprocessing_num_workers": "ours", "neftune_noise_alpha": "unknown", "val_size": "not_understood",
        "output_dir": "ours",
    }  # fmt: skip


def test_axolotl(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shop.jsonl").write_text("{}")
    found = read(tmp_path, AXOLOTL)
    assert (found.program, found.base) == ("Axolotl", "Qwen/Qwen2.5-0.5B-Instruct")
    assert found.data == tmp_path / "data" / "shop.jsonl"
    assert found.settings == {
        "r": 32, "lora_alpha": 16.0, "lora_dropout": 0.05, "target_modules": "q_proj,v_proj", "max_length": 4096,
        "batch_size": 8, "n_epochs": 3, "learning_rate": 2e-4, "prompt_loss_weight": 1.0,
        "gradient_checkpointing": True, "patience": 2, "validation_rows": 50, "method": "qlora",
    }  # fmt: skip
    assert why(found) == {"datasets": "several_data", "bf16": "ours", "sample_packing": "ours", "optimizer": "ours",
                          "lr_scheduler": "not_understood"}  # fmt: skip
    for lang in LANGUAGES:
        assert all(one.words(lang) for one in found.unmapped)


@pytest.mark.parametrize("text", [LLAMA_FACTORY, AXOLOTL])
def test_every_key_of_the_file_is_told(tmp_path: Path, text: str) -> None:
    import yaml

    found = read(tmp_path, text)
    said = {*found.mapped, *(one.key for one in found.unmapped)}
    assert set(yaml.safe_load(text)) <= said


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd"])
def test_a_data_set_outside_its_folder_is_not_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.json").write_text("[]")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"shop": {"file_name": name}}))
    found = read(tmp_path, LLAMA_FACTORY)
    assert found.data is None and why(found)["dataset"] == "no_data"


WAYS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "full": ("finetuning_type: full", {"method": "full"}, {}),
    "the last blocks": ("finetuning_type: freeze\nfreeze_trainable_layers: 3\nfreeze_trainable_modules: all",
                        {"method": "partial", "trained_modules": "last-3"}, {"freeze_trainable_modules": "ours"}),
    "the first blocks": ("finetuning_type: freeze\nfreeze_trainable_layers: -3", {"method": "partial"},
                         {"freeze_trainable_layers": "not_understood"}),
    "oft": ("finetuning_type: oft", {}, {"finetuning_type": "other_method"}),
    "a list": ("finetuning_type: [lora]", {}, {"finetuning_type": "other_method"}),
    "qlora": ("finetuning_type: lora\nquantization_bit: 4\nquantization_method: bnb", {"method": "qlora"},
              {"quantization_method": "ours"}),
    "8 bits": ("quantization_bit: 8", {}, {"quantization_bit": "unknown"}),
    "dora": ("use_dora: true\nuse_rslora: false", {"method": "dora"}, {"use_rslora": "off"}),
    "two at once": ("use_rslora: true\npissa_init: true", {"method": "rslora"}, {"pissa_init": "one_method"}),
    "lora+": ("loraplus_lr_ratio: 16.0", {"method": "lora_plus", "lora_plus_ratio": 16.0}, {}),
    "no number": ("loraplus_lr_ratio: much", {}, {"loraplus_lr_ratio": "not_understood"}),
    "plain text": ("stage: pt", {"task": "pretraining"}, {}),
    "preferences": ("stage: dpo\npref_beta: 0.2\npref_loss: sigmoid", {"task": "dpo", "dpo_beta": 0.2},
                    {"pref_loss": "ours"}),
    "another loss": ("stage: dpo\npref_loss: orpo", {"task": "dpo"}, {"pref_loss": "other_task"}),
    "rewards": ("stage: rm", {}, {"stage": "other_task"}),
    "ppo": ("stage: ppo", {}, {"stage": "other_task"}),
}  # fmt: skip


@pytest.mark.parametrize(("text", "settings", "left"), WAYS.values(), ids=WAYS)
def test_ways_and_tasks_of_llama_factory(
    tmp_path: Path, text: str, settings: dict[str, Any], left: dict[str, str]
) -> None:
    found = read(tmp_path, f"model_name_or_path: x\n{text}\n")
    assert (found.settings, why(found)) == (settings, left)


AXOLOTLS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "qlora": ("adapter: qlora\nload_in_4bit: true", {"method": "qlora"}, {}),
    "preferences": ("rl: dpo\nrl_beta: 0.3\nadapter: lora", {"task": "dpo", "dpo_beta": 0.3, "method": "lora"}, {}),
    "others": ("rl: grpo", {}, {"rl": "other_task"}),
    "dora": ("adapter: lora\npeft_use_dora: true", {"method": "dora"}, {}),
    "pissa": ("adapter: lora\npeft_init_lora_weights: pissa_niter_16", {"method": "pissa"}, {}),
    "loftq": (
        "adapter: lora\npeft_init_lora_weights: loftq",
        {"method": "lora"},
        {"peft_init_lora_weights": "unknown"},
    ),
    "nothing said": ("adapter:\nload_in_4bit: false", {}, {"load_in_4bit": "off"}),
}  # fmt: skip


@pytest.mark.parametrize(("text", "settings", "left"), AXOLOTLS.values(), ids=AXOLOTLS)
def test_ways_and_tasks_of_axolotl(tmp_path: Path, text: str, settings: dict[str, Any], left: dict[str, str]) -> None:
    found = read(tmp_path, f"base_model: x\n{text}\n")
    assert (found.settings, why(found)) == (settings, left)


def test_ms_swift(tmp_path: Path) -> None:
    (tmp_path / "shop.jsonl").write_text("{}")
    text = """model: Qwen/Qwen2.5-7B-Instruct
tuner_type: lora
dataset: [shop.jsonl#500, swift/self-cognition]
lora_rank: 8
lora_alpha: 32
target_modules: [all-linear]
init_weights: olora
quant_bits:
torch_dtype: bfloat16
num_train_epochs: 1
per_device_train_batch_size: 1
gradient_accumulation_steps: 16
learning_rate: 1e-4
max_length: 2048
system: 你是店员。
warmup_ratio: 0.05
split_dataset_ratio: 0.01
"""
    found = read(tmp_path, text)
    assert (found.program, found.base, found.data) == ("ms-swift", "Qwen/Qwen2.5-7B-Instruct", tmp_path / "shop.jsonl")
    assert found.settings == {
        "method": "olora", "r": 8, "lora_alpha": 32.0, "target_modules": "all-linear", "n_epochs": 1, "batch_size": 16,
        "learning_rate": 1e-4, "max_length": 2048, "system": "你是店员。", "warmup_ratio": 0.05,
    }  # fmt: skip
    assert why(found) == {"dataset": "several_data", "torch_dtype": "ours", "split_dataset_ratio": "unknown"}
    other = read(tmp_path, "model: x\nrlhf_type: kto\ntrain_type: adalora\n")
    assert why(other) == {"rlhf_type": "other_task", "train_type": "other_method"} and other.settings == {}


def test_a_plan_is_made_of_it(base: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = "".join(json.dumps(one.as_json(), ensure_ascii=False) + "\n" for one in titles(40))
    (tmp_path / "data" / "shop.jsonl").write_text(rows, "utf-8")
    text = (
        AXOLOTL.replace("load_in_4bit: true", "")
        .replace("sequence_len: 4096", "sequence_len: 512")
        .replace("val_set_size: 50", "val_set_size: 8")
    )
    (tmp_path / "c.yaml").write_text(text, "utf-8")
    made = told(["plan", "--from", tmp_path / "c.yaml", "--base", base("qwen2"), "--set", "r=2", "--no-measure"])
    plan = made["plan"]
    assert (plan["r"], plan["lora_alpha"], plan["batch_size"], plan["max_length"]) == (2, 16.0, 8, 512)
    assert made["foreign"]["mapped"]["micro_batch_size"] == {"field": "batch_size", "value": 8}
    assert made["reasons"]["lora_alpha"]["source"] == "user"
