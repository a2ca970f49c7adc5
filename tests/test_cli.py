"""Every command, as a person types it and as a script reads it, on a tiny model; and everything that may go wrong."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import openpyxl
import pytest

from postil import __version__, flow
from postil.errors import TrainError
from postil.records import Answer, Target
from postil.settings import for_child
from tests.story import INSTRUCTION, SYSTEM, Trained, refused, said, settings, sheet, told

if TYPE_CHECKING:
    from tests.models import Build

pytest_plugins = ("tests.story",)
pytestmark = pytest.mark.usefixtures("measured")


def in_a_process(*arguments: Any, **named: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "postil", *map(str, arguments)], capture_output=True, text=True,
                          encoding="utf-8", env={**for_child(), **named}, timeout=120)  # fmt: skip


# ── check ──


def test_check_tells_scripts_all_that_is_promised(tmp_path: Path) -> None:
    file = sheet(tmp_path / "a.csv", 30)
    file.write_text(file.read_text("utf-8") + "没有答案,\n", "utf-8")
    found = told(["check", file])
    promised = {"format", "encoding", "sheet", "header_row", "columns", "rows", "used", "not_data", "examples",
                "dropped", "repaired", "issues"}  # fmt: skip
    assert promised <= set(found)
    assert found["rows"] == found["used"] + len(found["dropped"]) + found["not_data"]
    assert (found["examples"], found["columns"]["question"], found["columns"]["answer"]) == (30, "A", "B")
    (left,) = found["dropped"]
    assert left["row"] == 32 and left["code"] == "missing_answer" and left["message"]
    assert all({"code", "severity", "row", "cell", "message", "fix"} <= set(issue) for issue in found["issues"])


def test_check_writes_the_cleaned_set_and_the_marked_workbook(tmp_path: Path) -> None:
    file, fixed, report = sheet(tmp_path / "a.csv", 30), tmp_path / "out.jsonl", tmp_path / "out.xlsx"
    code, out, _ = said(["check", file, "--fixed", fixed, "--report", report, "--lang", "en"])
    assert code == 0 and str(fixed) in out and str(report) in out
    lines = [json.loads(line) for line in fixed.read_text("utf-8").split("\n")[:-1]]
    assert len(lines) == 30 and lines[0]["messages"][-1] == {"role": "assistant", "content": "连衣裙"}
    assert openpyxl.load_workbook(report).worksheets[0].cell(2, 2).value == "连衣裙"


def test_corrections_hold_for_check_plan_and_xray(tmp_path: Path, base: Build) -> None:
    file = sheet(tmp_path / "a.csv", 30)
    file.write_text(file.read_text("utf-8") + "没有答案,\n", "utf-8")
    edits = tmp_path / "edits.json"
    edits.write_text(json.dumps({"edits": {"B32": "裙子"}, "without": [2, 3]}), "utf-8")
    found = told(["check", file, "--edits", edits])
    assert (found["examples"], found["edited"], found["left_out"]) == (29, 1, 2)
    assert [left["row"] for left in found["dropped"]] == [2, 3] and found["repaired"][-1]["cell"] == "B32"
    assert "1" in said(["check", file, "--edits", edits])[1]
    model = base("llama3")
    assert told(["xray", file, "--base", model, "--edits", edits])["examples"] == 29
    assert told(["plan", file, "--base", model, "--edits", edits])["plan"]["kind"]
    edits.write_text(json.dumps({"edits": {"B99": "x"}}), "utf-8")
    assert refused(["check", file, "--edits", edits]) == "edit_not_there"


def test_check_mends_what_a_click_can_mend_and_saves_how(tmp_path: Path) -> None:
    file, edits = sheet(tmp_path / "a.csv", 30), tmp_path / "edits.json"
    file.write_text(file.read_text("utf-8") + "没有答案,\n新品 77,<b>裙子</b>\n联系谁,打13812345678\n", "utf-8")
    before = file.read_bytes()
    found = told(["check", file, "--fix", "all", "--save-edits", edits])
    assert found["corrections"] == {"edits": {"B33": "裙子"}, "without": [32], "mask": True}
    assert json.loads(edits.read_text("utf-8")) == found["corrections"] and file.read_bytes() == before
    assert not [issue for issue in found["issues"] if issue["action"]]
    again = told(["check", file, "--edits", edits])
    assert {**again, "corrections": None} == {**found, "corrections": None}
    one = told(["check", file, "--fix", "html_left"])
    assert one["corrections"] == {"edits": {"B33": "裙子"}, "without": [], "mask": False}
    assert str(edits) in said(["check", file, "--fix", "all", "--save-edits", edits])[1]
    assert said(["check", file, "--fix", "nonsense"])[0] == 2


def test_check_tells_the_kind_of_data_and_whether_it_is_enough(tmp_path: Path) -> None:
    found = told(["check", sheet(tmp_path / "a.csv", 30)])
    assert found["kind"]["value"] in ("copywriting", "service_qa", "consulting", "extraction", "chat")
    assert found["kind"]["label"] and found["kind"]["reason"]
    gauge = found["gauge"]
    assert (gauge["state"], gauge["examples"], gauge["least"], gauge["steady"]) == ("few", 30, 10, 100)
    assert gauge["advised"] == [500, 1000] and gauge["message"] and gauge["fix"]
    good = told(["check", sheet(tmp_path / "b.csv", 500)])["gauge"]
    assert (good["state"], good["message"]) == ("good", None)


def test_the_kind_of_data_can_be_set(tmp_path: Path, base: Build) -> None:
    file, model = sheet(tmp_path / "a.csv", 30), base("llama3")
    for kind, metric in (("copywriting", "loss"), ("extraction", "exact_match")):
        found = told(["plan", file, "--base", model, "--set", f"kind={kind}"])
        assert (found["kind"], found["reasons"]["kind"]["source"]) == (kind, "user")
        assert found["plan"]["metric"] == metric


def test_the_columns_can_be_set_by_a_file_too(tmp_path: Path) -> None:
    file, reading = tmp_path / "a.csv", tmp_path / "reading.json"
    file.write_text("甲,乙,丙\n" + "".join(f"怎么办{i}？,答案{i},设定{i}\n" for i in range(12)), "utf-8")
    reading.write_text(json.dumps({"columns": {"question": "乙", "answer": "A"}, "system": "C"}), "utf-8")
    found = told(["check", file, "--edits", reading, "--fixed", tmp_path / "out.jsonl"])
    assert found["columns"] == {"question": "B", "answer": "A", "system": "C"}
    assert found["column_names"]["question"] == "乙"
    assert told(["check", file, "--edits", reading, "--question", "C"])["columns"]["question"] == "C"


def test_look_shows_rows_as_they_stand(tmp_path: Path) -> None:
    file = sheet(tmp_path / "a.csv", 30)
    file.write_text(file.read_text("utf-8") + "没有答案,\n", "utf-8")
    found = told(["look", file, "--from", 29, "--rows", 5])
    assert ([row["number"] for row in found["rows"]], found["total"], found["checked"]) == ([30, 31, 32], 32, False)
    only = told(["look", file, "--only", "missing_answer", "--keep", tmp_path / "kept"])
    assert [row["number"] for row in only["rows"]] == [32]
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"table.db", "findings.db"}
    code, out, _ = said(["look", file, "--check", "--from", 30, "--lang", "en"])
    assert code == 0 and "没有答案" in out and "no answer" in out


def test_diff_tells_what_was_put_right(tmp_path: Path) -> None:
    file, edits = sheet(tmp_path / "a.csv", 30), tmp_path / "edits.json"
    edits.write_text(json.dumps({"edits": {"B2": "长裙"}, "without": [3]}), "utf-8")
    found = told(["diff", file, file, "--after", edits])
    assert (found["same"], found["counts"]) == (28, {"added": 0, "removed": 1, "changed": 1})
    assert told(["diff", file, file, "--before", edits, "--rows", 0])["added"] == []
    code, out, _ = said(["diff", file, file, "--after", edits])
    assert code == 0 and "长裙" in out


def test_check_obeys_what_the_user_knows_better(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    rows = "".join(f"客户{i},提问内容 {i},回答内容 {i * 3},13812345678\n" for i in range(12))
    file.write_text(f"名称,甲,乙,丙\n{rows}", "utf-8")
    fixed = tmp_path / "out.jsonl"
    told(["check", file, "--question", "乙", "--answer", "D", "--system", "名称", "--instruction", "请回答：",
          "--mask", "--fixed", fixed])  # fmt: skip
    first = json.loads(fixed.read_text("utf-8").split("\n")[0])["messages"]
    assert first[0] == {"role": "system", "content": "客户0"}
    assert first[1]["content"].startswith("请回答：") and "回答内容 0" in first[1]["content"]
    assert "13812345678" not in first[2]["content"]


def test_check_with_a_base_proves_every_example(tmp_path: Path, base: Build) -> None:
    file = sheet(tmp_path / "a.csv", 12)
    file.write_text(file.read_text("utf-8") + "这是什么,裙子<|im_end|>\n", "utf-8")
    found = told(["check", file, "--base", base("qwen2")])
    assert [(issue["code"], issue["row"]) for issue in found["issues"] if issue["code"] == "marks_as_text"] == [
        ("marks_as_text", 14)
    ]
    assert not [issue for issue in found["issues"] if issue["code"].startswith("label_")]


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_check_speaks_the_language_that_is_asked_for(tmp_path: Path, lang: str) -> None:
    code, out, _ = said(["check", sheet(tmp_path / "a.csv", 5), "--lang", lang])
    assert code == 0 and ("at least 10" in out) == (lang == "en") and ("样本" in out) == (lang == "zh")


# ── xray, models, doctor ──


def test_xray_shows_what_is_learned(tmp_path: Path, base: Build) -> None:
    arguments = ["xray", sheet(tmp_path / "a.csv", 12), "--base", base("qwen2")]
    found = told(arguments)
    assert (found["examples"], found["end_token_learned"], found["cut"], found["all_masked"]) == (12, 12, 0, 0)
    assert len(found["rows"]) == 12
    code, out, _ = said([*arguments, "--rows", "2", "--lang", "en"])
    assert code == 0 and "All right" in out
    assert told([*arguments, "--max-length", "16"])["cut"] == 12


def test_xray_shows_personal_data_as_training_sees_it(tmp_path: Path, base: Build) -> None:
    file = tmp_path / "a.csv"
    rows = [f"商品{i} 电话 1381234567{i}?,答案{i}" for i in range(10)]
    file.write_text("\n".join(["问题,答案", *rows]), "utf-8")
    for mask, there in (((), True), (("--mask",), False)):
        found = told(["xray", file, "--base", base("qwen2"), *mask])
        assert ("1381234567" in "".join(piece for piece, _ in found["rows"][0]["pieces"])) == there


def test_models_are_listed_added_and_then_known_by_name(base: Build, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path))
    assert told(["models", "add", base("llama3"), "--name", "my-llama"])["name"] == "my-llama"
    listed = {model["name"]: model for model in told(["models", "list"])["models"]}
    assert Path(listed["my-llama"]["path"]).is_dir() and listed["qwen3-0.6b"]["path"] is None
    assert {"parameters", "licence", "sources", "languages", "fits"} <= set(listed["qwen3-0.6b"])
    assert told(["models", "pull", "my-llama"])["path"] == listed["my-llama"]["path"]
    assert refused(["models", "add", base("llama3"), "--name", "my-llama"]) == "place_taken"
    assert refused(["models", "add", base("llama3"), "--name", "../up"]) == "bad_model_name"
    assert refused(["models", "pull", "qwen-9000"]) in ("unknown_base", "unknown_model", "no_directory")
    code, out, _ = said(["models", "list"])
    assert code == 0 and "my-llama" in out


def test_doctor(monkeypatch: Any) -> None:
    assert {"facts", "settings", "differences", "problems"} <= set(told(["doctor"]))
    assert refused(["doctor", "no-such-run"]) == "nothing_to_resume"
    monkeypatch.setattr("postil.doctor.LEAST_DISK", 10**18)
    code, out, _ = said(["doctor", "--lang", "en"])
    assert code == 1 and "GB of disk" in out


# ── plan ──


def test_plan_tells_each_value_with_its_reason(tmp_path: Path, base: Build) -> None:
    file = sheet(tmp_path / "a.csv", 60)
    found = told(["plan", file, "--base", base("qwen2"), "--set", "r=16", "--set", "n_epochs=4"])
    assert set(found["plan"]) == set(found["reasons"])
    assert (found["plan"]["r"], found["reasons"]["r"]["source"]) == (16, "user")
    assert all(reason["reason"] and {"value", "source"} <= set(reason) for reason in found["reasons"].values())
    assert {"seconds", "memory_bytes", "disk_bytes", "cost"} <= set(found["estimate"])
    assert found["kind"] == found["plan"]["kind"]
    code, out, _ = said(["plan", file, "--base", base("qwen2"), "--lang", "en"])
    assert code == 0 and "learning_rate" in out and "Estimate" in out


@pytest.mark.parametrize(
    ("wish", "code", "says"),
    [("learning_rat=1", "unknown_field", "learning_rate"), ("epochs=3", "unknown_field", "n_epochs"),
     ("r=0", "setting_range", "1024"), ("r=eight", "setting_integer", "eight"),
     ("dtype=int4", "setting_choice", "float32"), ("r", "setting_form", "name=value"),
     ("learning_rate=nan", "setting_number", "nan"),
     ("thinking=perhaps", "setting_boolean", "true")],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_at_once(tmp_path: Path, wish: str, code: str, says: str) -> None:
    arguments = ["plan", tmp_path / "not-even-looked-for.csv", "--set", wish]
    assert refused(arguments) == code
    assert says in said([*arguments, "--lang", "en"])[2]


def test_an_unknown_preset_is_refused(tmp_path: Path, base: Build) -> None:
    arguments = ["plan", sheet(tmp_path / "a.csv", 30), "--base", base("qwen2"), "--preset", "quick"]
    assert refused(arguments) == "unknown_preset" and "quick_try" in said([*arguments, "--lang", "en"])[2]


def test_the_parameters_are_listed() -> None:
    code, out, _ = said(["plan", "--fields", "--lang", "en"])
    assert code == 0 and "lora_alpha" in out and "1 … 1024" in out
    assert "learning_rate" in {field["name"] for field in told(["plan", "--fields"])["fields"]}


# ── train ──


def test_train_leaves_an_adapter_with_its_proof(trained: Trained) -> None:
    promised = {"adapter", "updates", "epochs", "seconds", "trained_tokens", "peak_rss_bytes", "validation_loss",
                "verdict"}  # fmt: skip
    assert promised <= set(trained.result)
    assert set(trained.result["validation_loss"]) == {"base", "tuned"}
    files = {path.name for path in trained.directory.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "plan.json", "metrics.jsonl",
            "result.json", "evaluation.json", "report.md", "report.html"} <= files  # fmt: skip
    plan = json.loads((trained.directory / "plan.json").read_text("utf-8"))
    assert (plan["plan"]["system"], plan["plan"]["instruction"]) == (SYSTEM, INSTRUCTION)


def test_train_shows_each_stage_and_its_time(tmp_path: Path, base: Build) -> None:
    code, out, err = said(["train", sheet(tmp_path / "a.csv", 24), "--base", base("qwen2"), "-o", tmp_path / "out",
                           *settings("n_epochs=1"), "--lang", "en"])  # fmt: skip
    assert code == 0 and not err, err
    places = [
        out.index(word) for word in ("Checking", "(check: ", "The plan", "(plan: ", "Training", "Before and after")
    ]
    assert places == sorted(places)
    assert "Too few rows to tell" in out and "report.html" in out


def test_a_finished_run_is_not_overwritten_but_by_force(trained: Trained, tmp_path: Path) -> None:
    run = shutil.copytree(trained.directory, tmp_path / "run")
    arguments = ["train", trained.sheet, "--base", trained.base, "-o", run, *settings("n_epochs=1")]
    assert refused(arguments) == "run_finished"
    assert told([*arguments, "--force"])["epochs"] <= 1


def test_other_peoples_files_are_never_touched(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for force in ([], ["--force"]):
        arguments = ["train", trained.sheet, "--base", trained.base, "-o", tmp_path, *settings(), *force]
        assert refused(arguments) == "directory_not_empty"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_plan_of_an_earlier_run_is_taken_as_it_is(trained: Trained, tmp_path: Path, monkeypatch: Any) -> None:
    """Nothing is measured, its base and its prompts are used, and the same adapter comes out."""

    def never(*given: Any) -> Any:
        raise RuntimeError("a given plan was measured")

    monkeypatch.setattr("postil.model.probe.begun", never)
    arguments = ["train", trained.sheet, "--plan", trained.directory / "plan.json", "-o", tmp_path / "again"]
    assert told(arguments)["updates"] == trained.result["updates"]
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (trained.directory / name).read_bytes()
    plans = [json.loads((run / "plan.json").read_text("utf-8")) for run in (trained.directory, tmp_path / "again")]
    assert plans[0]["plan"] == plans[1]["plan"] and plans[1]["reasons"]["r"]["source"] == "plan"
    assert "measure" in plans[0]["stages"] and not plans[1]["stages"]


def test_what_is_no_plan_is_refused(trained: Trained, tmp_path: Path) -> None:
    arguments = ["train", trained.sheet, "-o", tmp_path / "out", "--plan"]
    assert refused([*arguments, tmp_path / "none.json"]) == "plan_unreadable"
    for text, code in (('{"r": 0}', "setting_range"), ('{"rank": 8}', "unknown_field"), ("[]", "plan_unreadable")):
        (tmp_path / "plan.json").write_text(text)
        assert refused([*arguments, tmp_path / "plan.json"]) == code
    assert not (tmp_path / "out").exists()


def test_each_stage_has_its_time(trained: Trained) -> None:
    stages = trained.result["stages"]
    assert {"measure", "load", "train", "evaluate"} <= set(stages) and all(took >= 0 for took in stages.values())
    within = sum(stages.get(name, 0.0) for name in ("base_loss", "probe", "train"))
    assert within == pytest.approx(trained.result["seconds"], abs=0.1)


def test_too_few_rows_are_refused(tmp_path: Path, base: Build) -> None:
    arguments = ["train", sheet(tmp_path / "a.csv", 9), "--base", base("qwen2"), "-o", tmp_path / "out"]
    assert refused(arguments) == "too_few_examples"
    assert not (tmp_path / "out").exists()


def test_rows_that_would_teach_something_wrong_are_refused_or_skipped(tmp_path: Path, base: Build) -> None:
    file = sheet(tmp_path / "a.csv", 24)
    file.write_text(file.read_text("utf-8") + f"这是什么,{'裙子好的' * 600}\n", "utf-8")
    arguments = ["train", file, "--base", base("qwen2"), "-o", tmp_path / "out",
                 *settings("n_epochs=1", "validation_rows=4", "test_rows=0")]  # fmt: skip
    code, out, _ = said([*arguments, "--json"])
    error = json.loads(out.splitlines()[-1])["error"]
    assert (code, error["code"], error["rows"]) == (1, "labels_wrong", [26])
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert told([*arguments, "--skip-faulty"])["updates"] > 0


def test_the_users_own_validation_and_test_files_are_used(tmp_path: Path, base: Build) -> None:
    own = sheet(tmp_path / "v.csv", 12, start=100), sheet(tmp_path / "t.csv", 11, start=200)
    told(["train", sheet(tmp_path / "a.csv", 24), "--base", base("qwen2"), "-o", tmp_path / "out",
          "--validation", own[0], "--test", own[1], *settings("n_epochs=1")])  # fmt: skip
    lines = {part: (tmp_path / "out" / "data" / f"{part}.jsonl").read_text("utf-8").count("\n")
             for part in ("training", "validation", "test")}  # fmt: skip
    assert lines == {"training": 24, "validation": 12, "test": 11}


def test_characters_that_some_call_line_ends_do_no_harm(tmp_path: Path, base: Build) -> None:
    file = sheet(tmp_path / "a.csv", 24)
    file.write_text(file.read_text("utf-8").replace("新款", "新\u2028款\x85\u2029"), "utf-8")
    assert told(["train", file, "--base", base("qwen2"), "-o", tmp_path / "out", *settings("n_epochs=1")])["updates"]


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_same_bytes(trained: Trained, tmp_path: Path) -> None:
    """It is stopped once to have a run that begins in the middle, then a process that goes on is killed."""
    run = tmp_path / "run"
    prepared = flow.plan(flow.check(trained.sheet, flow.Reading(system=SYSTEM, instruction=INSTRUCTION)),
                         flow.find_base(str(trained.base)),
                         settings=dict(pair.split("=") for pair in settings()[1::2]) | {"save_steps": "3"})  # fmt: skip
    with pytest.raises(TrainError) as stopped:
        flow.train(prepared, run, lambda event: None, stop=lambda: True)
    assert stopped.value.code == "interrupted"
    assert refused(["train", trained.sheet, "--base", trained.base, "-o", run, *settings()]) == "run_unfinished"
    assert refused(["compare", run, "x"]) == "adapter_unfinished"
    command = [sys.executable, "-m", "postil", "train", str(trained.sheet), "-o", str(run), "--resume", "--json"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=for_child())
    assert process.stderr
    for line in process.stderr:
        if json.loads(line).get("step", 0) >= 8:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    assert not (run / "result.json").exists()
    result = told(["train", trained.sheet, "-o", run, "--resume"])
    assert result["updates"] == trained.result["updates"]
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (run / name).read_bytes() == (trained.directory / name).read_bytes()


def test_a_run_is_resumed_with_its_own_data_only(trained: Trained, tmp_path: Path) -> None:
    other = sheet(tmp_path / "other.csv", 61)
    assert refused(["train", other, "-o", trained.directory, "--resume"]) == "data_changed"
    assert refused(["train", other, "-o", tmp_path / "nowhere", "--resume"]) == "nothing_to_resume"


# ── compare, evaluate, answer ──


def test_compare_answers_once_or_as_long_as_one_asks(trained: Trained, monkeypatch: Any) -> None:
    found = told(["compare", trained.directory, "7 新款 女"])
    assert set(found) == {"base", "tuned"} and found["base"] != found["tuned"]
    for farewell in ("", "exit", "QUIT", "/bye", "退出"):
        typed = iter(["7 新款 女", farewell])
        monkeypatch.setattr("builtins.input", lambda *prompt, typed=typed: next(typed))
        code, out, _ = said(["compare", trained.directory, "--lang", "en"])
        assert code == 0 and next(typed, "nothing is asked after the farewell").startswith("nothing")
    assert found["tuned"].strip() in out and "tuned" in out


def test_evaluate_on_a_file_and_on_the_test_part(trained: Trained, tmp_path: Path) -> None:
    found = told(["evaluate", trained.directory, "--data", sheet(tmp_path / "b.csv", 24, start=500)])
    metrics = {"exact_match", "char_f1", "rouge_l", "bleu", "loss", "stopped"}
    assert metrics <= set(found["base"]) and metrics <= set(found["tuned"])
    assert {"outcome", "metric", "difference", "interval"} <= set(found["verdict"]) and "forgetting" in found
    assert len(found["rows"]) == 24 and found["rows"][0]["question"].startswith((SYSTEM, INSTRUCTION, "5"))
    assert not any("learned" in row for row in found["rows"])
    again = told(["evaluate", trained.directory])
    assert again["verdict"] == {**trained.result["verdict"], "words": again["verdict"]["words"]}


def test_questions_that_were_learned_prove_nothing_and_it_is_said(trained: Trained) -> None:
    code, out, _ = said(["evaluate", trained.directory, "--data", trained.sheet, "--lang", "en"])
    plan = json.loads((trained.directory / "plan.json").read_text("utf-8"))["plan"]
    learned = 60 - plan["validation_rows"] - plan["test_rows"]
    assert code == 0 and f"{learned} of 60 questions stand in the rows that the model was trained on" in " ".join(
        out.split()
    )
    assert "questions that training never saw)" not in out


def test_answer_gives_the_own_sheet_back(trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "out.xlsx"
    found = told(["answer", trained.directory, trained.sheet, "--output", out])
    assert (found["rows"], found["answered"], found["from_earlier"]) == (60, 60, 0)
    written = openpyxl.load_workbook(out).worksheets[0]
    assert [cell.value for cell in written[1]][:2] == ["标题", "产品词"] and written.max_column == 3


def test_answer_goes_on_where_it_was_interrupted(trained: Trained, tmp_path: Path, monkeypatch: Any) -> None:
    out, asked = tmp_path / "out.xlsx", []

    def interrupted(self: Any, questions: Any, tell: Any) -> Any:
        asked.append(len(questions))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return [Answer(f"答 {question}", 3, True) for question in questions]

    monkeypatch.setattr(flow.Comparison, "answers", interrupted)
    arguments = ["answer", trained.directory, trained.sheet, "-o", out]
    assert said(arguments)[0] == 130
    found = told(arguments)
    assert asked == [32, 28, 28] and (found["answered"], found["from_earlier"]) == (60, 32)
    lines = [[cell.value for cell in row] for row in openpyxl.load_workbook(out).worksheets[0].iter_rows(min_row=2)]
    assert len(lines) == 60 and all(line[2] == f"答 {line[0]}" for line in lines)


def test_an_answer_without_words_is_not_asked_for_again(trained: Trained, tmp_path: Path, monkeypatch: Any) -> None:
    asked: list[str] = []

    def silent(self: Any, questions: Any, tell: Any) -> Any:
        asked.extend(questions)
        return [Answer("" if i % 2 else "裙子", 1, True) for i, _ in enumerate(questions)]

    monkeypatch.setattr(flow.Comparison, "answers", silent)
    arguments = ["answer", trained.directory, trained.sheet, "-o", tmp_path / "out.xlsx"]
    assert told(arguments)["without_words"] == 30
    found = told(arguments)
    assert len(asked) == 60 and (found["from_earlier"], found["without_words"]) == (60, 30)
    assert "30" in said([*arguments, "--lang", "en"])[1]


def test_answer_never_overwrites_the_users_file(trained: Trained, tmp_path: Path) -> None:
    own = openpyxl.Workbook()
    for line in trained.sheet.read_text("utf-8").split("\n")[:12]:
        own.worksheets[0].append(line.split(","))
    own.save(tmp_path / "own.xlsx")
    before = (tmp_path / "own.xlsx").read_bytes()
    assert (
        refused(["answer", trained.directory, tmp_path / "own.xlsx", "-o", tmp_path / "own.xlsx"]) == "output_is_input"
    )
    assert (tmp_path / "own.xlsx").read_bytes() == before


# ── what may go wrong ──


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Things that people give in place of a file of data."""
    home = tmp_path_factory.mktemp("odd")
    (home / "folder").mkdir()
    (home / "empty.xlsx").touch()
    (home / "a.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n%%EOF\n")
    (home / "noise.bin").write_bytes(bytes(range(256)) * 40)
    return {"missing": home / "missing.csv", "folder": home / "folder", "empty": home / "empty.xlsx",
            "pdf": home / "a.pdf", "noise": home / "noise.bin"}  # fmt: skip


ODD = {"missing": "file_missing", "folder": "file_is_folder", "empty": "file_empty", "pdf": "file_is_pdf",
       "noise": "encoding_unknown"}  # fmt: skip


@pytest.mark.parametrize(("name", "code"), ODD.items())
def test_what_is_no_data_is_refused_by_every_command(
    odd: dict[str, Path], name: str, code: str, trained: Trained, tmp_path: Path
) -> None:
    base, out = trained.base, tmp_path / "out"
    assert refused(["check", odd[name]]) == code
    assert refused(["check", odd[name], "--system", "be kind"]) == code
    assert refused(["xray", odd[name], "--base", base]) == code
    assert refused(["plan", odd[name], "--base", base]) == code
    assert refused(["train", odd[name], "--base", base, "-o", out]) == code
    assert refused(["evaluate", trained.directory, "--data", odd[name]]) == code
    assert refused(["answer", trained.directory, odd[name], "-o", tmp_path / "o.xlsx"]) == code
    assert refused(["train", odd[name], "-o", trained.directory, "--resume"]) == "data_changed"
    assert not out.exists()


@pytest.mark.parametrize("name", ["missing", "folder", "pdf"])
def test_what_is_no_adapter_is_refused_by_every_command(odd: dict[str, Path], name: str, tmp_path: Path) -> None:
    file = sheet(tmp_path / "a.csv", 12)
    for arguments in (["compare", odd[name], "x"], ["evaluate", odd[name]], ["evaluate", odd[name], "--data", file],
                      ["answer", odd[name], file, "-o", tmp_path / "o.xlsx"]):  # fmt: skip
        assert refused(arguments) == "not_an_adapter"


def test_what_is_no_base_model_is_refused(odd: dict[str, Path], tmp_path: Path) -> None:
    file = sheet(tmp_path / "a.csv", 12)
    for name in ("missing", "folder", "pdf"):
        code = refused(["plan", file, "--base", odd[name]])
        assert code in ("no_directory", "no_config", "unknown_base")


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    file = sheet(tmp_path / "a.csv", 12)
    assert refused(["check", file, "--fixed", tmp_path / "no" / "such" / "x.jsonl"]) == "file_not_written"
    assert refused(["check", file, "--report", tmp_path / "no" / "such" / "x.xlsx"]) == "output_no_folder"
    assert refused(["check", file, "--report", tmp_path / "x.docx"]) == "output_not_xlsx"


@pytest.mark.parametrize("arguments", [["check"], ["check", "--nonsense", "x"], ["nonsense"], ["plan"], [],
                                       ["check", "x", "--lang", "fr"], ["--lang", "fr", "doctor"], ["train", "x"],
                                       ["xray", "x", "--rows", "no"]])  # fmt: skip
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    code, out, err = said(arguments)
    assert code == 2 and "Usage" in out + err and "Traceback" not in err


@pytest.mark.parametrize("arguments", [["check"], ["check", "--nonsense", "x"], ["nonsense"], ["plan"], ["train", "x"],
                                       ["check", "x", "--lang", "fr"], ["xray", "x", "--rows", "no"]])  # fmt: skip
def test_wrong_usage_is_an_error_object_for_scripts(arguments: list[str]) -> None:
    code, out, err = said([*arguments, "--json"])
    assert code == 2 and not err
    error = json.loads(out)["error"]
    assert error["code"] == "wrong_usage" and error["cause"] and "--help" in error["remedy"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "a", "b"], ["chek", "a"], ["models", "nonsense"], ["train", "a", "-o"], ["check", "a", "--json=3"],
        ["look", "a", "--rows", "many"], ["look", "a", "--rows", "9999"], ["look", "a", "--rows", "-1"],
        ["golden", "a", "--endpoint", "b", "--model", "c", "-o", "d", "--per-minute", "often"],
        ["export", "a", "-o", "b", "--to", "nowhere"], ["check", "a", "--fix", "nonsense"], ["plan"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_told_in_one_language(arguments: list[str]) -> None:
    """Typer speaks English only; what it says is recognised, and our sentence said in its place."""
    code, _, err = said(["--lang", "zh", *arguments])
    cause = next(line for line in err.splitlines() if line.startswith("出错了"))
    own_words = {"check", "FILE", "json", "fields", *get_args(Target), *arguments}
    left_over = [
        word for word in re.findall(r"[A-Za-z][\w-]+", cause) if word not in {w.lstrip("-") for w in own_words}
    ]
    assert code == 2 and not left_over, cause


def test_a_misspelt_command_is_recognised() -> None:
    assert "check" in said(["chek", "a", "--lang", "en"])[2].partition("perhaps you mean")[2]


def test_wrong_usage_names_what_is_missing_and_what_may_be_meant() -> None:
    assert "--output" in said(["train", "x"])[2]
    assert "FILE" in said(["check"])[2]
    assert "--sheet" in said(["check", "x", "--shet", "1"])[2]


def test_help_is_in_one_language() -> None:
    """In a process of its own, since help is read once, at the start."""
    chinese = in_a_process("train", "--help", "--lang", "zh").stdout
    for heading in ("用法：", "参数：", "选项："):
        assert f"{heading}" in chinese
    assert not any(word in chinese for word in ("Usage", "Options", "Arguments", "[default", "[required", "Show this"))
    assert "命令：" in in_a_process("--lang", "zh").stdout  # without a command, help is the answer
    english = in_a_process("train", "--help", "--lang", "en").stdout
    assert english.startswith("Usage: postil train") and "Show this message and exit." in english


def test_version_and_help() -> None:
    assert said(["--version"])[:2] == (0, f"postil {__version__}\n")
    code, out, _ = said(["--help"])
    assert code == 0 and all(verb in out for verb in ("check", "plan", "train", "compare", "evaluate", "answer"))


def test_a_coded_error_shows_its_trace_with_debug_only(odd: dict[str, Path]) -> None:
    done = in_a_process("check", odd["missing"], "--debug")
    assert done.returncode == 1 and "Traceback" in done.stderr
    done = in_a_process("check", odd["missing"], "--lang", "zh", POSTIL_LANG="en")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "找不到文件" in done.stderr


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_what_nobody_foresaw_ends_in_a_sentence(lang: str) -> None:
    code = ("import sys, postil.doctor, postil.__main__ as door\n"
            "def examine(): raise RuntimeError('the dog ate it')\n"
            "postil.doctor.examine = examine; sys.exit(door.main())")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, "doctor", "--lang", lang], capture_output=True, text=True,
                          encoding="utf-8", env=for_child(), timeout=60)  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the dog ate it" in done.stderr and "--debug" in done.stderr and "(unexpected)" in done.stderr
    assert ("维护者" in done.stderr) == (lang == "zh")
    done = subprocess.run([sys.executable, "-c", code, "doctor", "--json"], capture_output=True, text=True,
                          encoding="utf-8", env=for_child(), timeout=60)  # fmt: skip
    assert done.returncode == 1 and json.loads(done.stdout)["error"]["code"] == "unexpected"
