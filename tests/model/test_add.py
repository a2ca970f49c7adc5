"""A model in a directory gets a name; nothing unsafe does."""

from __future__ import annotations

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
