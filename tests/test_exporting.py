"""A finished run leaves the house by the command line, and comes in by it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from postil import flow
from tests.story import INSTRUCTION, SYSTEM, Trained, measured, refused, said, sheet, told, trained  # noqa: F401


def test_a_run_is_exported_with_its_certificate(trained: Trained, tmp_path: Path) -> None:  # noqa: F811
    made = told(["export", trained.directory, "--to", "merged", "-o", tmp_path / "out", "--name", "店 Shop 1"])
    assert (made["parity"]["outcome"], made["name"]) == ("pass", "shop-1")
    page = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert SYSTEM in page and INSTRUCTION in page
    facts = json.loads((tmp_path / "out" / "export.json").read_text("utf-8"))
    assert facts["system"] == SYSTEM and set(facts["files"]) == set(made["files"])
    code, out, err = said(["export", trained.directory, "-o", tmp_path / "peft", "--to", "peft", "--lang", "zh"])
    assert code == 0 and "一致" in out, out + err
    asked = told(["export", trained.directory, "-o", tmp_path / "own", "--data", sheet(tmp_path / "q.csv", 3)])
    assert asked["parity"]["certificates"][0]["questions"] == 3


def test_what_stands_there_is_not_touched(trained: Trained, tmp_path: Path) -> None:  # noqa: F811
    own = tmp_path / "own"
    own.mkdir()
    (own / "letter.txt").write_text("mine")
    assert refused(["export", trained.directory, "-o", own]) == "directory_not_empty"
    assert refused(["export", trained.directory, "-o", own, "--force"]) == "directory_not_empty"
    made = tmp_path / "made"
    told(["export", trained.directory, "-o", made, "--to", "peft", "--no-check"])
    assert refused(["export", trained.directory, "-o", made, "--to", "peft"]) == "export_exists"
    again = told(["export", trained.directory, "-o", made, "--to", "peft", "--no-check", "--force"])
    assert again["parity"]["outcome"] == "not_checked" and (own / "letter.txt").read_text() == "mine"
    code, _, err = said(["export", trained.directory, "-o", made, "--to", "pickle", "--lang", "en"])
    assert code == 2 and "gguf-lora" in err


def test_a_certificate_that_fails_is_an_exit_code(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setattr("postil.export.plain.outgoing", lambda template: template.text.replace("\\n", "!"))
    code, out, _ = said(["export", trained.directory, "-o", tmp_path / "out", "--json"])
    found = json.loads(out.splitlines()[-1])["parity"]
    assert code == 1 and (found["outcome"], found["cause"]) == ("fail", "template")
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.slow
def test_our_own_engine_says_the_same(trained: Trained) -> None:  # noqa: F811
    found = told(["parity", trained.directory])
    (certificate,) = found["certificates"]
    assert (certificate["outcome"], certificate["door"]) == ("pass", "engine"), certificate
    assert certificate["difference"] < 1e-3 and sum(row["tokens"] for row in certificate["rows"]) > 20


def test_a_run_of_ones_own_gets_a_name(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "home"))
    assert refused(["models", "add", trained.directory]) == "base_unnamed"
    flow.add_base(trained.base, "tiny")
    made = told(["models", "add", trained.directory, "--name", "titles"])
    assert made["name"].startswith("ft:tiny:local:titles:") and made["unknown"] == {}
    copy = Path(made["path"])
    assert copy.is_relative_to(tmp_path / "home") and (copy / "plan.json").exists()
    assert (copy / "adapter_model.safetensors").stat().st_ino != (
        trained.directory / "adapter_model.safetensors").stat().st_ino  # fmt: skip
    unfinished = tmp_path / "unfinished"
    shutil.copytree(trained.directory, unfinished)
    (unfinished / "adapter_model.safetensors").unlink()
    assert refused(["models", "add", unfinished]) == "adapter_unfinished"
