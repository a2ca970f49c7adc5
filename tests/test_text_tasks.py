"""Preferences, plain text and rewriting, each from its sheet to the verdict, by the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postil.plan import find
from tests.sided import build_bart, build_t5
from tests.story import SHORT, refused, told

pytest_plugins = ("tests.story",)
pytestmark = pytest.mark.usefixtures("measured")
CITIES = ("杭州", "Leeds", "成都", "Bergen", "西安", "Turin", "厦门", "Porto")


@dataclass(frozen=True)
class Done:
    sheet: Path
    directory: Path
    result: dict[str, Any]

    @property
    def evaluation(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "evaluation.json").read_text("utf-8")))


def settings(*more: str) -> list[str]:
    return [word for pair in (*SHORT, "n_epochs=1", "validation_rows=4", *more) for word in ("--set", pair)]


def preferences(path: Path, rows: int = 30) -> Path:
    lines = [f"{i} 号包裹到{CITIES[i % 8]}要几天？,{i % 5 + 1} 天，到{CITIES[i % 8]}前会短信通知。,不知道，{i % 3} 天吧"
             for i in range(rows)]  # fmt: skip
    path.write_text("\n".join(["问题,好回答,差回答", *lines]) + "\n", encoding="utf-8")
    return path


def articles(path: Path, count: int = 30) -> Path:
    parts = [f"{CITIES[i % 8]}的第 {i} 号仓库收货到晚上{i % 4 + 6}点。Goods for {CITIES[(i + 3) % 8]} leave at dawn. "
             f"{'超重的包裹走另一条线。' * (i % 3)}" for i in range(count)]  # fmt: skip
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def addresses(path: Path, rows: int = 30) -> Path:
    lines = [f"order {i} the title says {'so it is ' * (i % 3)}sent,order {i} sent" for i in range(rows)]
    path.write_text("\n".join(["原文,改写", *lines]) + "\n", encoding="utf-8")
    return path


def done(file: Path, base: Path, *more: str) -> Done:
    directory = file.parent / "adapter"
    result = told(["train", file, "--base", base, "-o", directory, *settings("test_rows=6", *more)])
    return Done(file, directory, result)


def test_preferences_from_the_sheet_to_the_verdict(base, tmp_path):
    file = preferences(tmp_path / "偏好.csv")
    found = told(["check", file, "--fixed", tmp_path / "fixed.jsonl"])
    assert found["columns"]["rejected"] == "C" and found["examples"] == found["used"] == 30
    first = json.loads((tmp_path / "fixed.jsonl").read_text("utf-8").splitlines()[0])
    assert first["rejected"].startswith("不知道") and first["messages"][-1]["content"].startswith("1 天")
    assert told(["check", tmp_path / "fixed.jsonl"])["examples"] == 30
    planned = told(["plan", file, "--base", base("qwen2"), *settings()])
    assert planned["plan"]["task"] == "dpo" and planned["plan"]["metric"] == "preferred"
    run = done(file, base("qwen2"))
    told_all = run.evaluation
    assert run.result["verdict"]["metric"] == "preferred"
    assert run.result["validation_loss"]["base"] == pytest.approx(0.6931, abs=1e-3)  # the reference is the base
    assert {"preferred", "reward_margin"} <= set(told_all["tuned"]) and told_all["base"]["reward_margin"] == 0.0
    assert told_all["rows"][0]["rejected"] and told_all["tuned"]["reward_margin"] != 0.0
    again = told(["evaluate", run.directory, "--data", file])
    assert 0 <= again["tuned"]["preferred"] <= 1
    plain = addresses(tmp_path / "plain.csv")
    assert refused(["evaluate", run.directory, "--data", plain]) == "task_needs_rejected"
    assert set(told(["compare", run.directory, "到杭州要几天？"])) >= {"base", "tuned"}


def test_texts_from_the_file_to_the_verdict(base, tmp_path):
    file = articles(tmp_path / "文章.txt")
    found = told(["check", file])
    assert found["shape"] == "texts" and found["examples"] == 30
    assert "texts_only" in [issue["code"] for issue in found["issues"]]
    assert told(["xray", file, "--base", base("qwen2")])["end_token_learned"] == 30
    run = done(file, base("qwen2"))
    plan = json.loads((run.directory / "plan.json").read_text("utf-8"))["plan"]
    assert plan["task"] == "pretraining" and run.result["verdict"]["metric"] == "loss"
    told_all = run.evaluation
    assert told_all["tuned"]["perplexity"] > 1
    text = (tmp_path / "文章.txt").read_text("utf-8")
    assert all(row["question"] in text and row["reference"] for row in told_all["rows"])
    sheet = tmp_path / "开头.csv"
    sheet.write_text("问题\n杭州的仓库\nGoods for Leeds\n", encoding="utf-8")
    answers = told(["answer", run.directory, sheet, "-o", tmp_path / "out.xlsx"])
    assert answers["answered"] == 2


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_rewriting_from_the_sheet_to_the_verdict(kind, tmp_path):
    model = (build_t5 if kind == "t5" else build_bart)(tmp_path / "base")
    file = addresses(tmp_path / "rewrites.csv")
    planned = told(["plan", file, "--base", model, *settings()])
    assert planned["plan"]["task"] == "seq_2_seq_lm" and "base" in planned["reasons"]["task"]["reason"]
    assert planned["estimate"]["memory_bytes"] > 0
    run = done(file, model)
    assert run.result["verdict"]["metric"] == "rouge_l" and run.result["forgetting"] is None
    assert set(told(["compare", run.directory, "order 3 the title says sent"])) >= {"base", "tuned"}
    assert told(["xray", file, "--base", model])["end_token_learned"] == 30


def test_a_task_and_a_base_that_do_not_go_together(base, tmp_path):
    file, model = addresses(tmp_path / "rewrites.csv"), build_t5(tmp_path / "base")
    assert refused(["plan", file, "--base", base("qwen2"), "--set", "task=seq_2_seq_lm"]) == "task_needs_encoder"
    assert refused(["plan", file, "--base", model, "--set", "task=causal_lm"]) == "task_needs_decoder"
    assert refused(["plan", file, "--base", base("qwen2"), "--set", "task=dpo"]) == "task_needs_rejected"
    texts = articles(tmp_path / "texts.txt")
    assert refused(["plan", texts, "--base", base("qwen2"), "--set", "task=causal_lm"]) == "task_needs_questions"


def test_the_shape_of_a_base_with_an_encoder(tmp_path):
    shape = find(str(build_bart(tmp_path / "base")), tmp_path).shape
    assert (shape.encoder_layers, shape.layers, shape.gated, shape.context) == (2, 2, False, 256)
    assert shape.times("q_proj") == 6 and shape.times("up_proj") == 4
