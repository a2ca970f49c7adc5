"""Adapters that other programs made: their own files, their own keys, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from postil import api, flow
from postil.errors import AdapterError, ModelError, PostilError
from postil.model.adopt import named_base
from postil.records import Message
from postil.store import LOCAL, open_store
from tests.models import Build
from tests.serve.adapters import adapter, by_peft

# what programs put into adapter_config.json beside what the installed PEFT knows, and beside the file itself
MAKERS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "trl": ({"future_peft_option": None}, ("training_args.bin", "README.md")),
    "llama-factory": ({"created_by": "llamafactory"}, ("training_args.bin", "trainer_state.json", "all_results.json")),
    "ms-swift": ({"target_modules": r"^(model(?=\.).*\.(q_proj|v_proj))$", "swift_version": "4.0"}, ("args.json",)),
    "unsloth": ({"unsloth_fixed": True, "unsloth_version": "2026.1"}, ("tokenizer.model.bak",)),
    "axolotl": ({"axolotl_config": {"a": 1}}, ("config.json", "optimizer.bin")),
}


@pytest.fixture
def home(tmp_path: Path, base: Build, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "home"))
    flow.add_base(base("qwen2"), "tiny")
    return tmp_path / "home"


def made_by(maker: str, base: Path, directory: Path, **config: Any) -> Path:
    told, others = MAKERS[maker]
    peft = {"target_modules": ["q_proj", "v_proj"]} if "target_modules" in told else {}
    adapter(base, directory, 5, **peft, **config)
    file = directory / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **told, "base_model_name_or_path": "org/Tiny"}))
    for name in others:
        (directory / name).write_bytes(b"\x80\x04not for us")
    return directory


@pytest.mark.parametrize("maker", MAKERS)
def test_adapters_of_other_programs_can_be_called(maker: str, home: Path, base: Build, tmp_path: Path) -> None:
    directory = made_by(maker, base("qwen2"), tmp_path / "theirs")
    before = {file.name: file.read_bytes() for file in directory.iterdir()}
    with flow.adopted(directory) as (found, unknown):
        made = api.add_model(found, "客服 bot")
        assert set(unknown) == set(MAKERS[maker][0]) - {"target_modules"}
    assert made["name"].startswith("ft:tiny:local:bot:") and made["live"]
    assert before == {file.name: file.read_bytes() for file in directory.iterdir()}
    kept = {file.name for file in Path(made["path"]).iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "plan.json", "tokenizer.json"} <= kept
    assert not kept & set(MAKERS[maker][1])
    store = open_store()
    try:
        assert store.models.get(LOCAL, made["name"]).base == "tiny"
    finally:
        store.close()
    answer = flow.Comparison(Path(made["path"]))
    said = answer._pair.answers([(Message("user", "Where is my order?"),)], tuned=True, max_new_tokens=6)[0].text
    assert said == by_peft(base("qwen2"), _plain(directory), [Message("user", "Where is my order?")], 6).strip()


def _plain(directory: Path) -> Path:
    """The same for PEFT itself."""
    (directory / "config.json").unlink(missing_ok=True)
    return directory


def test_a_base_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({"base_model_name_or_path": "unsloth/Qwen3-0.6B-unsloth-bnb-4bit"}))
    assert "qwen3-0.6b" in named_base(tmp_path) and named_base(tmp_path)[0].startswith("unsloth/")
    file.write_text(json.dumps({"base_model_name_or_path": None}))
    assert named_base(tmp_path) == []
    file.write_text("[]")
    with pytest.raises(AdapterError) as refused:
        named_base(tmp_path)
    assert refused.value.code == "config_unreadable"


def refused(directory: Path, base: str | None = None) -> PostilError:
    with pytest.raises(PostilError) as error, flow.adopted(directory, base):
        pass
    assert error.value.cause("zh") and error.value.remedy("en")
    return error.value


def test_what_is_missing_is_asked_for(home: Path, base: Build, tmp_path: Path) -> None:
    directory = adapter(base("qwen2"), tmp_path / "theirs", 5)
    file = directory / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "org/unheard-of"}))
    error = refused(directory)
    assert error.code == "adapter_base_unknown" and "org/unheard-of" in error.cause("en")
    with flow.adopted(directory, str(base("qwen2"))) as (found, unknown):
        assert (
            found.plan.r == 4 and found.plan.target_modules == "down_proj,gate_proj,k_proj,o_proj,q_proj,up_proj,v_proj"
        )
        assert not unknown
    assert refused(directory, "gpt-9").code == "unknown_base"
    assert refused(directory, str(base("phi"))).code == "adapter_misfit"


def test_a_base_without_a_name_cannot_be_called(base: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "empty"))
    directory = adapter(base("qwen2"), tmp_path / "theirs", 5)
    with flow.adopted(directory) as (found, _), pytest.raises(ModelError) as error:
        api.add_model(found, None)
    assert error.value.code == "base_unnamed"


def test_what_is_unsafe_is_refused(home: Path, base: Build, tmp_path: Path) -> None:
    directory = adapter(base("qwen2"), tmp_path / "theirs", 5)
    weights = directory / "adapter_model.safetensors"
    good = load_file(weights)
    name = next(iter(good))
    save_file({**good, name: good[name] * float("nan")}, weights)
    assert refused(directory).code == "adapter_not_finite"
    save_file({**good, "model.embed_tokens.weight": good[name].clone()}, weights)
    assert refused(directory).code == "adapter_tensor"
    weights.rename(directory / "adapter_model.bin")
    assert refused(directory).code == "adapter_pickled"
