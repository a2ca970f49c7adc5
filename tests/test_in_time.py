"""A quick try on a slow machine: it plans what fits into its minutes, and says everywhere what it left out."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from postil import flow
from tests.story import PROBE, said, sheet, told

if TYPE_CHECKING:
    from tests.models import Build

SLOW = replace(PROBE, step_seconds=7.0, step_tokens=400, generate_seconds=0.3)


@pytest.fixture
def quick(base: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of a quick try on such a machine."""
    monkeypatch.setattr("postil.model.probe.begun", lambda: contextlib.nullcontext(lambda *given: SLOW))
    return [
        sheet(tmp_path / "a.csv", 300),
        "--base",
        base("qwen2"),
        "--preset",
        "quick_try",
        "--set",
        "max_new_tokens=8",
    ]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_plan_says_what_is_left_out_and_why(quick: list[Any], lang: str) -> None:
    found = told(["plan", *quick, "--lang", lang])
    plan, reasons = found["plan"], found["reasons"]
    assert plan["minutes"] == 5 and plan["n_epochs"] == 1 and plan["training_rows"] < 200 and plan["test_rows"] == 20
    for name in ("n_epochs", "training_rows", "test_rows", "validation_rows"):
        assert reasons[name]["code"] == f"fit_{name}" and reasons[name]["source"] == "measured"
        assert str(plan[name]) in reasons[name]["reason"]
    (doubt,) = [doubt for doubt in found["doubts"] if doubt["code"] == "left_out_for_time"]
    assert f"{plan['training_rows']}/200" in doubt["message"] and doubt["fix"]
    assert sum(found["estimate"]["seconds"]) / 2 < 300


def test_the_remedy_that_is_named_works(quick: list[Any]) -> None:
    found = told(["plan", *quick, "--set", "minutes=0"])
    assert found["plan"]["n_epochs"] == 3 and found["plan"]["training_rows"] == 200
    unmeasured = told(["plan", *quick, "--no-measure"])["estimate"]
    assert unmeasured["seconds"][1] <= 300
    more = told(["plan", *quick, "--set", "minutes=15"])["plan"]
    assert more["n_epochs"] > 1 or more["training_rows"] == 200


def test_the_run_says_it_too(quick: list[Any], tmp_path: Path) -> None:
    file, *others = quick
    code, out, err = said(["train", file, *others, "-o", tmp_path / "out", "--lang", "en"])
    assert code == 0, out + err
    assert "Left out, so as to end in time: epochs 1/3" in out.replace("\n", " ")
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert result["left_out"]["test_rows"] == [20, 50] and result["verdict"]["n"] == 20


def test_the_probe_has_a_share_of_the_minutes(quick: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(
        "postil.model.probe.begun", lambda: contextlib.nullcontext(lambda *given: heard.append(given) or SLOW)
    )
    told(["plan", *quick])
    told(["plan", *quick, "--set", "minutes=0"])
    assert [request[2] for request in heard] == [0.15 * 300, 0.0]


def test_labels_are_in_every_part_of_what_is_left(base: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slower = replace(SLOW, step_seconds=2 * SLOW.step_seconds)  # labels are asked for in one step
    monkeypatch.setattr("postil.model.probe.begun", lambda: contextlib.nullcontext(lambda *given: slower))
    dataset = flow.check(sheet(tmp_path / "a.csv", 300))
    made = flow.plan(dataset, flow.find_base(str(base("qwen2"))), preset="quick_try", settings={"task": "seq_cls"})
    labels = [{example.answer for example in part} for part in (made.split.training, made.split.validation)]
    assert labels[1] <= labels[0] and made.proposal.plan.training_rows < 200


def test_less_of_the_proof_where_its_time_has_passed() -> None:
    assert flow._test_questions(50, {}) == 50
    assert flow._test_questions(50, {"proof_share": 0.6}) == 30
    assert flow._test_questions(50, {"proof_share": 0.0}) == 20
    assert flow._test_questions(12, {"proof_share": 0.0}) == 12
