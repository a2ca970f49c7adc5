"""A run's answers are judged by a model and by people, from the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest

from postil.evaluate import InMemoryJudge, read_evaluation, shown_rows
from postil.judging import open_judge
from postil.store import read_json
from tests.story import Trained, refused, said, told

if TYPE_CHECKING:
    from tests.models import Build

pytest_plugins = ("tests.story",)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of which only what is needed is there; its answers are as if both had tried."""
    directory = tmp_path / "run"
    (directory / "data").mkdir(parents=True)
    (directory / "plan.json").write_text('{"plan": {"kind": "copywriting"}}')
    rows = [{"rows": [i + 2], "question": f"标题 {i}", "reference": f"词 {i}", "base": f"=旧 {i}", "tuned": f"新 {i}",
             "base_score": 0.1, "tuned_score": 0.9} for i in range(24)]  # fmt: skip
    rows[5]["tuned"] = rows[5]["base"]
    verdict = {"outcome": "better", "metric": "char_f1", "difference": 0.8, "interval": [0.7, 0.9], "n": 24,
               "p_value": 0.001}  # fmt: skip
    proof = {"base": {"char_f1": 0.1}, "tuned": {"char_f1": 0.9}, "verdict": verdict, "forgetting": 0.0, "rows": rows}
    (directory / "evaluation.json").write_text(json.dumps(proof, ensure_ascii=False), "utf-8")
    return directory


def vote(run: Path, sheet: Path, likes: str) -> None:
    """Fill in a sheet as somebody who likes the tuned, or the base, or the left answer."""
    book = openpyxl.load_workbook(sheet)
    one = book.worksheets[0]
    for row in range(4, one.max_row + 1):
        tuned_left = str(one.cell(row, 3).value).startswith("新")
        left = likes == "left" or (likes == "tuned") == tuned_left
        one.cell(row, 5).value = "A is better" if left else "B 更好"
    book.save(sheet)


def test_people_vote_on_sheets_and_are_counted(run: Path, tmp_path: Path) -> None:
    sheets = [tmp_path / f"{name}.xlsx" for name in ("张三", "李四")]
    made = [told(["evaluate", run, "--blind", sheet])["blind"] for sheet in sheets]
    assert (made[0]["questions"], made[0]["same"]) == (23, 1) and len({one["sheet"] for one in made}) == 2
    seed = read_json(run / "blind.json")["seed"]
    evaluation = read_evaluation(run)
    cells = [cell.value for row in openpyxl.load_workbook(sheets[0]).worksheets[0].iter_rows() for cell in row]
    assert evaluation is not None and seed not in str(cells)
    shown = [row["a"] for row in shown_rows(evaluation.rows, seed, made[1]["sheet"]) if row["row"] != 5]
    in_sheet = [cell.value for cell in openpyxl.load_workbook(sheets[1]).worksheets[0]["C"][3:]]
    assert in_sheet == shown
    for sheet, likes in zip(sheets, ("tuned", "left"), strict=True):
        vote(run, sheet, likes)
    copied = tmp_path / "copy.xlsx"
    shutil.copy2(sheets[0], copied)  # one sheet sent to two people: both count
    scores = tmp_path / "scores.xlsx"
    found = told(
        ["evaluate", run, *(word for one in (*sheets, copied) for word in ("--votes", one)), "--scores", scores]
    )
    assert found["votes"]["preference"].items() >= {"outcome": "better", "won": 23, "tied": 1}.items()
    assert found["votes"]["agreement"]["raters"] == 3 and found["votes"]["agreement"]["method"] == "fleiss"
    assert found["votes"]["by_rater"]["3: copy.xlsx"] == {"tuned": 23}
    sheet = openpyxl.load_workbook(scores).worksheets[0]
    assert sheet.max_row == 25 and sheet.cell(2, 4).value == "=旧 0" and sheet.cell(2, 4).data_type == "s"
    code, out, _ = said(["evaluate", run, "--votes", sheets[0], "--lang", "zh"])
    assert code == 0 and "变好了" in out


def test_sheets_of_another_vote_are_refused(run: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "a.xlsx"
    told(["evaluate", run, "--blind", sheet])
    assert refused(["evaluate", run, "--blind", tmp_path / "none" / "a.xlsx"]) == "output_no_folder"
    assert refused(["evaluate", run, "--votes", tmp_path / "none.xlsx"]) == "file_missing"
    proof = (run / "evaluation.json").read_text("utf-8").replace("新 3", "全新 3")
    (run / "evaluation.json").write_text(proof, "utf-8")  # evaluated anew
    assert refused(["evaluate", run, "--votes", sheet]) == "vote_of_another"


def test_a_judge_of_the_command_line(run: Path, tmp_path: Path, monkeypatch: Any) -> None:
    @contextmanager
    def opened(named: str) -> Iterator[InMemoryJudge]:
        yield InMemoryJudge(lambda prompt: "B" if prompt.split("|")[1].startswith("=旧") else "A")

    scores, prompt = tmp_path / "scores.xlsx", tmp_path / "prompt.txt"
    prompt.write_text("\ufeff{question}|{a}|{b}|{criteria}", "utf-8")
    judge = ["--judge", "local:tiny", "--judge-prompt", prompt, "--criteria", "短"]
    with monkeypatch.context() as patch:
        patch.setattr("postil.judging.open_judge", opened)
        found = told(["evaluate", run, *judge, "--scores", scores])["judgement"]
    assert found["criteria"] == "短" and found["prompt"].startswith("{question}") and found["rows"][5]["side"] == "same"
    assert found["preference"].items() >= {"won": 23, "tied": 1, "outcome": "better"}.items()
    assert len((run / "judging.jsonl").read_text("utf-8").splitlines()) == 1 + 2 * 23
    assert read_json(run / "judgement.json")["preference"]["won"] == 23
    sheet = openpyxl.load_workbook(scores).worksheets[0]
    assert sheet.max_column == 12 and sheet.cell(2, 8).value in ("tuned", "调优后")
    assert refused(["evaluate", run, "--judge", "gpt-4"]) == "judge_unknown"
    assert refused(["evaluate", run, "--judge", "endpoint"]) == "judge_not_set"
    prompt.write_text("which?", "utf-8")
    assert refused(["evaluate", run, *judge]) == "judge_prompt_incomplete"
    prompt.write_bytes(b"\xff\xfe\xff")
    assert refused(["evaluate", run, *judge]) == "file_not_text"


@pytest.mark.slow
def test_a_local_judge_is_an_engine_of_ours(run: Path, base: Build, monkeypatch: Any) -> None:
    """A tiny random model says nothing that can be understood; all the rest is real."""
    monkeypatch.setattr("postil.judging.MOST_TOKENS", 6)
    found = told(["evaluate", run, "--judge", f"local:{base('qwen2')}"])["judgement"]
    assert found["judge"].startswith("local:") and found["preference"]["n"] + found["unclear"] == 24


@pytest.mark.slow
def test_a_question_that_is_too_long_for_the_judge_is_not_judged(base: Build) -> None:
    from postil.records import Message

    with open_judge(f"local:{base('qwen2')}") as judge:
        assert judge.ask((Message("user", "很长 " * 5000),)) == ""


@pytest.mark.slow
def test_a_real_run_is_judged_from_beginning_to_end(trained: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.directory, run)
    found = told(["evaluate", run, "--judge", f"local:{trained.base}"])
    assert len(found["judgement"]["rows"]) == len(found["rows"])
