"""Packages that are not here: each says what brings it, in words that are a command."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from postil import extras
from postil.errors import ModelError, PostilError, StoreError
from postil.extras import EXTRAS, command, has, load, require
from postil.store import Database
from postil.store.blobs import Blobs

HOUSE = Path(extras.__file__).parent
DECLARED = tomllib.loads((HOUSE.parent / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


def test_the_table_is_what_is_declared() -> None:
    names = {extra: tuple(re.split(r"[^\w-]", line)[0] for line in lines) for extra, lines in DECLARED.items()}
    names.pop("dev")
    assert names == dict(EXTRAS)
    for extra, modules in EXTRAS.items():
        assert {command(module) for module in modules} == {f'pip install "postil[{extra}]"'}
    assert command("wandb") == "pip install wandb"


def test_only_one_place_asks_whether_a_package_is_here() -> None:
    asking = set()
    for path in HOUSE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (isinstance(node, ast.Attribute) and node.attr == "find_spec") or (
                isinstance(node, ast.alias) and node.name == "find_spec"
            ):
                asking.add(path.relative_to(HOUSE).as_posix())
    assert asking == {"extras.py"}


def refuses(call: Any, *words: str) -> None:
    with pytest.raises(PostilError) as refused:
        call()
    assert refused.value.code == "extra_missing"
    for lang in ("zh", "en"):
        text = refused.value.cause(lang) + refused.value.remedy(lang)
        assert all(word in text for word in words), text


def test_a_package_that_is_not_here_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in (module for modules in EXTRAS.values() for module in modules):
        monkeypatch.setitem(sys.modules, module, None)
        refuses(lambda module=module: load(module, "hub", ModelError), module, command(module))
    refuses(lambda: Database("postgresql://ada:x@127.0.0.1:9/postil"), "PostgreSQL", 'pip install "postil[postgres]"')
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert not has("json")
    refuses(lambda: require("modelscope", "hub", ModelError), 'pip install "postil[hubs]"')


@pytest.mark.parametrize(("address", "module"), [("s3://k:tr0ub4dor@b/x", "s3fs"), ("gs://bucket", "gcsfs")])
def test_a_place_for_files_names_its_package(
    address: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    refuses(lambda: Blobs(address, tmp_path), f"pip install {module}", "POSTIL_FILES")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:p@tr0ub4dor@db.example/postil",
        "mysql://ada:tr0ub4dor@db.example/x",
        "tr0ub4dor@db.example",
        "postgres://ada:tr0ub4dor@db.example/postil",
        "host=db.example password=tr0ub4dor",
        "postgresql://ada:tr0ub4dor@db.example:port/postil",
    ],
)
def test_attack_17_a_database_s_address_that_will_not_do_is_told_without_its_password(address: str) -> None:
    with pytest.raises(StoreError) as refused:
        Database(address)
    assert refused.value.code == "database_address"
    assert "tr0ub4dor" not in str(refused.value) + repr(refused.value.values)


def test_attack_17_nor_is_that_of_files(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused:
        Blobs("nowhere://ada:tr0ub4dor@db.example/x", tmp_path)
    assert refused.value.code == "files_address" and "tr0ub4dor" not in str(refused.value)
