"""The worker learns from the file as a person has put it right, and validates on the other file as it stands."""

from __future__ import annotations

import json
import shutil
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from openpyxl import Workbook, load_workbook

from postil import flow, train
from postil.errors import ExportError
from postil.jobs.attempt import EVENTS, RUN, Desk
from postil.jobs.run import evaluation, export, training
from postil.store import sha256
from tests.jobs.shop import SETTINGS, data
from tests.runs import laid_out

if TYPE_CHECKING:
    from tests.models import Build


def test_corrections_are_of_the_training_file_alone(base: Build, tmp_path: Path) -> None:
    inputs = {}
    lines = data(42).splitlines(keepends=True)
    for name, rows in (("training", lines[:30]), ("validation", lines[30:])):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(b"".join(rows))
        inputs[name] = {"path": str(path), "sha256": sha256(path)}
    reading = {"edits": {"1:messages.2.content": "换过的答案"}, "without": [2, 30]}
    spec = {"phase": "validate", "inputs": inputs, "base": str(base("llama3")), "reading": reading, "adapter": None,
            "seed": 7, "settings": {**SETTINGS, "test_rows": "0"}, "preset": None, "measure": False, "earlier": [],
            "learning_rate_multiplier": None}  # fmt: skip
    (tmp_path / "attempt").mkdir()
    told = training(spec, Desk(tmp_path / "attempt", 1, None))
    assert told["examples"] == {"training": 28, "validation": 12, "test": 0}
    run = tmp_path / "attempt" / RUN
    assert "换过的答案" in (run / "data" / "training.jsonl").read_text("utf-8")
    assert json.loads((run / "plan.json").read_text("utf-8"))["data"]["check"]["edited"] == 1


def test_a_multiplier_of_the_rate_measures_once(base: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring takes minutes on a slow machine."""
    path = tmp_path / "training.jsonl"
    path.write_bytes(data(30))
    settings = {name: value for name, value in SETTINGS.items() if name != "learning_rate"}
    spec = {"phase": "validate", "inputs": {"training": {"path": str(path), "sha256": sha256(path)}},
            "base": str(base("llama3")), "reading": {}, "adapter": None, "seed": 7, "settings": settings,
            "preset": None, "measure": True, "earlier": []}  # fmt: skip
    measured = []
    monkeypatch.setattr(flow, "_measuring", lambda: nullcontext(lambda *asked: measured.append(asked)))
    rates = []
    for multiplier in (None, 3.0):
        attempt = _made(tmp_path / f"attempt {multiplier}")
        told = training({**spec, "learning_rate_multiplier": multiplier}, Desk(attempt, 1, None))
        rates.append(told["plan"]["learning_rate"])
    assert len(measured) == 2 and rates[1] == pytest.approx(3 * rates[0])


def test_rows_that_cannot_be_learned_from_are_told_with_their_reason(base: Build, tmp_path: Path) -> None:
    """Before anything is trained, for both files; not those that a person has left out."""
    lines = data(60).decode().splitlines()
    inputs = {}
    for name, own, broken in (("training", lines[:30], (4, 17)), ("validation", lines[30:], (2,))):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join("{oh" if i in broken else line for i, line in enumerate(own, 1)), "utf-8")
        inputs[name] = {"path": str(path), "sha256": sha256(path)}
    spec = {"phase": "validate", "inputs": inputs, "base": str(base("llama3")), "reading": {"without": [5]},
            "adapter": None, "seed": 7, "settings": {**SETTINGS, "test_rows": "0"}, "preset": None, "measure": False,
            "earlier": [], "learning_rate_multiplier": None}  # fmt: skip
    (tmp_path / "attempt").mkdir()
    told = training(spec, Desk(tmp_path / "attempt", 1, None))
    assert told["examples"] == {"training": 27, "validation": 29, "test": 0}
    events = [json.loads(line) for line in (tmp_path / "attempt" / EVENTS).read_text("utf-8").splitlines()]
    found = [one for one in events if one.get("code") == "rows_left_out"]
    assert [(one["file"], one["n"], one["rows"], one["numbers"], one["level"]) for one in found] == [
        ("training.jsonl", 2, 30, "4, 17", "warn"), ("validation.jsonl", 1, 30, "2", "warn"),
    ]  # fmt: skip
    assert "JSON" in found[0]["why"]["en"] and "{oh" in found[0]["why"]["zh"]


def test_a_published_model_becomes_one_archive(base: Build, tmp_path: Path) -> None:
    """It has no rows of its run any more: the certificate asks what its evaluation asked, or anything at all."""
    laid_out(tmp_path / "run", base("qwen2"), n_epochs=1, max_new_tokens=4)
    train.run(tmp_path / "run", lambda event: None)
    published = tmp_path / "store" / "published"
    published.mkdir(parents=True)
    for file in (tmp_path / "run").iterdir():
        if file.is_file():
            shutil.copy(file, published)
    (tmp_path / "attempt").mkdir()
    settings = {"to": "merged", "type": "bfloat16", "name": "ft:tiny:local:标题:x1"}
    told = export({"adapter": str(published), "settings": settings}, Desk(tmp_path / "attempt", 1, None))
    (name,) = told["files"]
    assert name == "ft-tiny-local-x1-merged.zip" and told["result"]["parity"]["outcome"] == "pass"
    with zipfile.ZipFile(tmp_path / "attempt" / RUN / name) as packed:
        names = {one.split("/", 1)[1] for one in packed.namelist()}
    assert {"model.safetensors", "config.json", "parity.json", "README.md"} <= names
    assert set(told["result"]["contents"]) <= names and not (tmp_path / "attempt" / "export").exists()
    told = export({"adapter": str(published), "settings": {"to": "peft"}}, Desk(_made(tmp_path / "again"), 1, None))
    with pytest.raises(ExportError) as refused:
        export({"adapter": str(published), "settings": {"to": "script"}}, Desk(_made(tmp_path / "third"), 1, None))
    assert refused.value.code == "script_no_rows"


def test_an_evaluation_comes_back_as_the_sheet_that_was_given(base: Build, tmp_path: Path) -> None:
    laid_out(tmp_path / "run", base("qwen2"), n_epochs=1, max_new_tokens=4)
    train.run(tmp_path / "run", lambda event: None)
    book, source = Workbook(), tmp_path / "asked.xlsx"
    for row in [("问题", "答案"), *((f"第 {i} 个问题？", f"答案 {i}") for i in range(4))]:
        book.worksheets[0].append(row)
    book.save(source)
    inputs = {"training": {"path": str(source), "sha256": sha256(source)}}
    spec = {"adapter": str(tmp_path / "run"), "inputs": inputs, "reading": {}}
    told = evaluation(spec, Desk(_made(tmp_path / "attempt"), 1, None))
    assert set(told["files"]) == {"evaluation.json", "evaluation.xlsx"}
    sheet = load_workbook(tmp_path / "attempt" / RUN / "evaluation.xlsx").worksheets[0]
    assert [cell.value for cell in sheet[2]][:2] == ["第 0 个问题？", "答案 0"] and sheet.max_column > 3


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
