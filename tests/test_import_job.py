"""`postil import-job` as a person types it and as a script reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from postil import flow
from postil.show import Screen
from tests.jobs.described import BAILIAN, OPENAI, TOGETHER
from tests.story import refused, said, sheet, told

if TYPE_CHECKING:
    from tests.models import Build

pytest_plugins = ("tests.story",)
pytestmark = pytest.mark.usefixtures("measured")


def described(path: Path, job: Any) -> Path:
    path.write_text(json.dumps(job, ensure_ascii=False), "utf-8")
    return path


def test_what_is_no_job_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{", "utf-8")
    assert refused(["import-job", tmp_path / "broken.json"]) == "description_unreadable"
    assert refused(["import-job", described(tmp_path / "a.json", {"a": 1})]) == "description_unknown"
    code, _, err = said(["import-job", described(tmp_path / "b.json", OPENAI), "--output", tmp_path / "run"])
    assert code == 2
    assert "--data" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("job", [BAILIAN, TOGETHER, OPENAI])
def test_a_person_reads_what_was_carried_over(tmp_path: Path, job: dict[str, Any], lang: str) -> None:
    code, out, _ = said(["import-job", described(tmp_path / "job.json", job), "--lang", lang])
    assert code == 0
    assert "postil train FILE --base " in " ".join(out.split())
    assert "hidden-1" not in out
    assert ("没有迁移" if lang == "zh" else "Not carried over") in out


def test_a_script_reads_the_same(tmp_path: Path) -> None:
    found = told(["import-job", described(tmp_path / "job.json", BAILIAN), "--data", tmp_path / "a b.jsonl"])
    assert (found["service"], found["base"]) == ("dashscope", "qwen3-14b")
    assert found["settings"]["n_epochs"] == 3
    assert found["command"].startswith(f"postil train '{tmp_path}/a b.jsonl' --base qwen3-14b --set n_epochs=3")
    assert {"theirs", "value", "ours", "becomes"} == set(found["mapped"][0])
    assert {"theirs", "value", "reason", "why"} == set(found["left"][0])


def test_the_rate_is_a_multiple_of_what_the_plan_chooses(base: Build, tmp_path: Path) -> None:
    dataset = flow.check(sheet(tmp_path / "a.csv", 60))
    model = flow.find_base(str(base("qwen2")))
    plain, twice = (flow.plan(dataset, model, rate_multiplier=by).proposal for by in (None, 2.0))
    assert twice.plan.learning_rate == pytest.approx(2 * plain.plan.learning_rate)
    wished = flow.plan(dataset, model, settings={"learning_rate": "0.002"}, rate_multiplier=2.0).proposal
    assert wished.plan.learning_rate == 0.002


def test_it_trains_at_once_when_it_is_told_where(base: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = {
        **OPENAI,
        "hyperparameters": {"n_epochs": 1, "batch_size": 4, "learning_rate_multiplier": 0.5},
        "method": None,
    }
    asked: dict[str, Any] = {}

    def train(screen: Screen, file: Path, output: Path, model: str, reading: Any, others: Any, choice: Any,
              force: bool) -> dict[str, Any]:  # fmt: skip
        asked.update(file=file, output=output, model=model, others=others, choice=choice)
        return {"updates": 3}

    monkeypatch.setattr("postil.cli.training._train", train)
    monkeypatch.setattr("postil.cli.training._finished", lambda *told: None)
    data = sheet(tmp_path / "a.csv", 60)
    found = told(["import-job", described(tmp_path / "job.json", job), "--data", data, "--validation", data,
                  "--base", base("qwen2"), "--output", tmp_path / "run"])  # fmt: skip
    assert (found["updates"], found["service"]) == (3, "openai")
    assert (asked["file"], asked["others"], asked["model"]) == (data, {"validation": data}, str(base("qwen2")))
    assert asked["choice"] == {"settings": {"n_epochs": 1, "batch_size": 4, "seed": 683058546}, "rate_multiplier": 0.5}


@pytest.mark.slow
def test_the_whole_way_from_their_job_to_an_adapter(base: Build, tmp_path: Path) -> None:
    job = {
        **OPENAI,
        "hyperparameters": {"n_epochs": 1, "batch_size": 8, "learning_rate_multiplier": 2.0},
        "method": None,
    }
    found = told(["import-job", described(tmp_path / "job.json", job), "--data", sheet(tmp_path / "a.csv", 60),
                  "--base", base("qwen2"), "--output", tmp_path / "run"])  # fmt: skip
    assert found["updates"] > 0
    assert (tmp_path / "run" / "adapter_model.safetensors").exists()
    plan = json.loads((tmp_path / "run" / "plan.json").read_text("utf-8"))["plan"]
    assert (plan["n_epochs"], plan["batch_size"], plan["seed"]) == (1, 8, 683058546)
