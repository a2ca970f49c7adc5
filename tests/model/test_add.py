"""A model in a directory gets a name; nothing unsafe does."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from postil.errors import ModelError
from postil.model.add import add
from postil.plan import find
from tests.models import Build


def test_an_added_model_is_found_by_its_name(base: Build, tmp_path: Path) -> None:
    assert add(base("llama2"), tmp_path, "my-model") == "my-model"
    found = find("my-model", tmp_path)
    assert found.path == tmp_path / "models" / "my-model" and found.shape.layers == 2


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65])
def test_names_that_are_none(base: Build, tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError) as refused:
        add(base("llama2"), tmp_path, name)
    assert refused.value.code == "bad_model_name"


def test_a_taken_name_is_refused(base: Build, tmp_path: Path) -> None:
    add(base("llama2"), tmp_path, "m")
    with pytest.raises(ModelError) as refused:
        add(base("llama2"), tmp_path, "m")
    assert refused.value.code == "place_taken"


def _pickled(model: Path, outside: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Path.touch))


def _remote_code(model: Path, outside: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    (model / "evil.py").write_text(f"open({str(outside / 'canary')!r}, 'w')")


def _escaping_template(model: Path, outside: Path) -> None:
    (model / "chat_template.jinja").write_text(
        "{{ lipsum.__globals__['os'].mkdir('" + str(outside / "canary") + "') }}{{ messages[-1].content }}"
    )


def _endless_template(model: Path, outside: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ 'a' * 10**10 }}{{ messages[-1].content }}")


def _lying_header(model: Path, outside: Path) -> None:
    (model / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}")


def _link(model: Path, outside: Path) -> None:
    (outside / "secret.json").write_text("{}")
    (model / "vocab.json").unlink(missing_ok=True)
    (model / "vocab.json").symlink_to(outside / "secret.json")


@pytest.mark.parametrize("spoil", [_pickled, _remote_code, _escaping_template, _endless_template, _lying_header, _link])
def test_attack_01_02_03_04_05_08_nothing_hostile_gets_a_name(
    base: Build, tmp_path: Path, spoil: Callable[[Path, Path], None]
) -> None:
    """The one door by which base models come in, but for the download, which is checked by the same."""
    model, home, outside = tmp_path / "model", tmp_path / "home", tmp_path / "outside"
    shutil.copytree(base("llama2"), model)
    outside.mkdir()
    spoil(model, outside)
    with pytest.raises(ModelError) as refused:
        add(model, home, "m")
    assert refused.value.remedy("zh")
    assert not (outside / "canary").exists() and not (home / "models" / "m").exists()
