"""The plain script trains the adapter anew, without Postil, to the same numbers."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from postil import flow, train
from postil.errors import ExportError
from postil.settings import for_child
from postil.store import read_json, write_json
from tests.models import Build
from tests.runs import laid_out

ALLOWED = {"json", "random", "sys", "math", "pathlib", "torch", "peft", "transformers"}


@pytest.fixture(scope="module")
def ran(base: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ran") / "run"
    laid_out(directory, base("qwen2"), n_epochs=3, prompt_loss_weight=0.1, weight_decay=0.01, lr_scheduler="cosine",
             evaluations_per_epoch=2)  # fmt: skip
    train.run(directory, lambda event: None)
    return directory


@pytest.mark.slow
def test_it_reaches_the_same_loss_and_the_same_adapter(base: Build, ran: Path, tmp_path: Path) -> None:
    made = flow.export(ran, "script", tmp_path / "script")
    assert made["parity"]["outcome"] == "not_checked"
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import runpy, sys; sys.argv[0] = sys.argv[1]; del sys.argv[1]; "
         "runpy.run_path(sys.argv[0], run_name='__main__')", str(tmp_path / "script" / "train.py"), str(base("qwen2")),
         str(tmp_path / "again")], capture_output=True, text=True, encoding="utf-8", env=for_child(), cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    got, expected = told["got"], told["expected"]
    assert (got["updates"], got["best_update"]) == (expected["updates"], expected["best_update"])
    for name in ("base", "tuned"):
        assert abs(got["validation_loss"][name] - expected["validation_loss"][name]) < 1e-4
    ours, again = (
        load_file(ran / "adapter_model.safetensors"),
        load_file(tmp_path / "again" / "adapter_model.safetensors"),
    )
    assert ours.keys() == again.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, again[name], atol=2e-3), name


def test_it_needs_nothing_of_ours(ran: Path, tmp_path: Path) -> None:
    flow.export(ran, "script", tmp_path / "script")
    tree = ast.parse((tmp_path / "script" / "train.py").read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= ALLOWED
    rows = [json.loads(line) for line in (tmp_path / "script" / "training.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 24 and {"messages", "sequences"} == set(rows[0])
    first = rows[0]["sequences"][0]
    assert len(first["input_ids"]) == len(first["weights"]) and 0 < sum(first["weights"]) < len(first["weights"])


@pytest.mark.parametrize(
    ("change", "code"), [({"lora_dropout": 0.1}, "script_dropout"), ({}, "script_start"), (None, "script_no_rows")]
)
def test_what_no_script_can_repeat_is_refused(
    base: Build, tmp_path: Path, change: dict[str, float] | None, code: str
) -> None:  # fmt: skip
    directory = tmp_path / "run"
    laid_out(directory, base("qwen2"), n_epochs=1, **(change or {}))
    train.run(directory, lambda event: None)
    if code == "script_start":
        told = read_json(directory / "plan.json")
        write_json(directory / "plan.json", {**told, "start": {"path": "x", "sha256": "y"}})
    if code == "script_no_rows":
        (directory / "result.json").unlink()
    with pytest.raises(ExportError) as refused:
        flow.export(directory, "script", tmp_path / "out")
    assert refused.value.code == code and not (tmp_path / "out").exists()
