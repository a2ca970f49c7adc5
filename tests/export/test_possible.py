"""Every way to tune leaves the house in all the forms that can hold it, and is told where none can."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from postil import export as room
from postil.errors import ExportError
from postil.export.headed import ByHead
from postil.export.possible import BY_METHOD, BY_TASK, possible
from postil.locales import LANGUAGES
from postil.model.adapt import open_adapter
from postil.model.labelset import read_labels
from postil.model.load import load_planned, load_template
from postil.model.reader import Reader
from postil.records import Adapter, Method, Target, Task
from postil.store import read_json
from tests.export.made import LABELS, asked, nothing, tuned, wanted
from tests.models import Build, build_encoder, plan
from tests.sided import build_t5


def test_every_method_and_task_has_its_line() -> None:
    assert set(BY_METHOD) == set(get_args(Method)) and set(BY_TASK) == set(get_args(Task))


@pytest.mark.parametrize(
    ("values", "to", "code", "says"),
    [
        ({"method": "prefix"}, "merged", "export_method", "peft"),
        ({"method": "prompt"}, "gguf", "export_method", "peft"),
        ({"method": "p_tuning"}, "vllm", "export_method", "peft"),
        ({"method": "bottleneck"}, "peft", "export_stays", "postil serve"),
        ({"method": "dora"}, "gguf-lora", "export_method", "merged, peft, gguf, ollama"),
        ({"method": "full"}, "peft", "export_method", "merged, gguf, ollama"),
        ({"method": "dora"}, "script", "export_method", "merged"),
        ({"task": "seq_cls"}, "gguf", "export_task", "merged, peft"),
        ({"method": "prefix", "task": "seq_cls"}, "merged", "export_method", "peft"),
        ({"task": "dpo"}, "script", "export_task", "gguf"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(
    base: Build, tmp_path: Path, values: dict[str, Any], to: Target, code: str, says: str
) -> None:
    told = Adapter(tmp_path / "none", "tiny", base("qwen2"), "", plan(**values))
    with pytest.raises(ExportError) as refused:
        room.export(told, wanted(to), tmp_path / "out", nothing)
    assert refused.value.code == code and to not in possible(told.plan)
    for lang in LANGUAGES:
        assert says in refused.value.remedy(lang)
        assert all(value in refused.value.cause(lang) for value in list(values.values())[:1])
    assert not (tmp_path / "out").exists()


WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rslora": ("qwen2", "rslora", {}),
    "dora": ("qwen2", "dora", {}),
    "pissa": ("qwen2", "pissa", {}),
    "eva": ("llama3", "eva", {}),
    "ia3": ("qwen2", "ia3", {}),
    "full, words tied": ("llama3", "full", {"size": 0.01}),
    "the last block": ("qwen2", "partial", {"trained_modules": "last-1"}),
    "the head, which was tied": ("llama3", "partial", {"trained_modules": "head"}),
    "layers by name": ("qwen3", "partial", {"trained_modules": "q_proj,norm"}),
}


@pytest.mark.parametrize(("family", "method", "values"), WAYS.values(), ids=WAYS)
def test_it_says_the_same_when_it_is_merged(
    base: Build, tmp_path: Path, family: str, method: str, values: dict[str, Any]
) -> None:
    adapter = tuned(base(family), tmp_path / "a", method, **values)
    made = room.export(adapter, wanted("merged"), tmp_path / "out", nothing)
    assert made["parity"]["outcome"] == "pass", made["parity"]["words"]["en"]
    assert made["parity"]["certificates"][0]["difference"] < 1e-3


@pytest.mark.parametrize("method", ["ia3", "dora", "prompt"])
def test_it_says_the_same_as_a_peft_directory(base: Build, tmp_path: Path, method: str) -> None:
    made = room.export(tuned(base("qwen2"), tmp_path / "a", method), wanted("peft"), tmp_path / "out", nothing)
    assert made["parity"]["outcome"] == "pass", made["parity"]["words"]["en"]


@pytest.mark.full  # needs the extra `qlora`
def test_a_base_in_four_bits_is_named_as_the_cause(base: Build, tmp_path: Path) -> None:
    """Merged into the base as it is, the model is not quite the one that was trained."""
    adapter = tuned(base("qwen2"), tmp_path / "a", "qlora")
    made = room.export(adapter, wanted("merged"), tmp_path / "out", nothing)
    assert (made["parity"]["outcome"], made["parity"]["cause"]) == ("fail", "quantization")
    assert "4 bits" in " ".join(made["parity"]["words"]["en"]) and "4 比特" in " ".join(made["parity"]["words"]["zh"])


HEADS = [("seq_cls", "lora", "qwen2", "merged"), ("seq_cls", "dora", "llama3", "peft"),
         ("seq_cls", "full", "bert", "merged"), ("token_cls", "lora", "qwen2", "merged"),
         ("token_cls", "lora", "bert", "merged"), ("token_cls", "lora", "bert", "peft")]  # fmt: skip


@pytest.mark.parametrize(("task", "method", "family", "to"), HEADS)
def test_models_with_labels_give_the_same_labels(
    base: Build, tmp_path: Path, task: str, method: str, family: str, to: Target
) -> None:
    place = build_encoder(tmp_path / "bert") if family == "bert" else base(family)
    adapter = tuned(place, tmp_path / "a", method, task=task)
    made = room.export(adapter, wanted(to), tmp_path / "out", nothing)
    (found,) = made["parity"]["certificates"]
    assert found["outcome"] == "pass" and found["difference"] < 1e-3, found["words"]
    assert found["questions"] == 3 and all(row["tokens"] for row in found["rows"])
    if to == "merged":
        told = read_json(tmp_path / "out" / "config.json")
        assert list(told["id2label"].values()) == list(LABELS) and "Classification" in told["architectures"][0]


def test_a_head_that_differs_is_told(base: Build, tmp_path: Path) -> None:
    adapter = tuned(base("qwen2"), tmp_path / "a", "lora", task="seq_cls")
    room.export(adapter, wanted("merged", check=False), tmp_path / "out", nothing)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    weights["score.weight"] *= 2
    save_file(weights, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
    reader, labels = load_template(base("qwen2"), task="seq_cls"), read_labels(adapter.path)
    assert isinstance(reader, Reader)
    found = room.hold(adapter, lambda leave: ByHead(tmp_path / "out", "seq_cls", reader, labels), asked(), "float32")
    assert (found.outcome, found.cause) == ("fail", "weights")


def test_an_encoder_and_decoder_is_merged_as_one_model(tmp_path: Path) -> None:
    place = build_t5(tmp_path / "t5")
    adapter = tuned(place, tmp_path / "a", "lora", task="seq_2_seq_lm")
    made = room.export(adapter, wanted("merged"), tmp_path / "out", nothing)
    assert made["parity"]["outcome"] == "not_checked" and "seq_2_seq_lm" in made["parity"]["words"]["zh"][0]
    ids = torch.tensor([[5, 6, 7, 1]])
    loaded = load_planned(place, adapter.plan)
    tuned_model = open_adapter(loaded.model, adapter.path)
    merged_model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out").eval()
    with torch.inference_mode():
        ours, theirs = (m(input_ids=ids, labels=ids).logits for m in (tuned_model, merged_model))
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) > 10
