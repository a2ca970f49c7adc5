"""Sheets of labels and of marks, from the file to the verdict by the command line, on tiny models."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest

from postil.model.entities import read_entities
from tests.models import build_encoder
from tests.story import refused, said, told

if TYPE_CHECKING:
    from tests.models import Build

pytest_plugins = ("tests.story",)
pytestmark = pytest.mark.usefixtures("measured")
SHORT = ("learning_rate_probe=false", "n_epochs=4", "threads=1", "r=4", "learning_rate=2e-2", "evaluations_per_epoch=1",
         "test_rows=24", "validation_rows=8")  # fmt: skip
FAST = [word for pair in SHORT for word in ("--set", pair)]
WORDS = {"dress": "衣服", "tea cup": "杯子", "手机壳": "手机"}


def rows(count: int) -> list[tuple[str, str]]:
    words, chance = list(WORDS), random.Random(3)
    noise = ("夏季", "new", "女", "gift", "三天", "blue", "order", "ok")
    return [
        (f"{' '.join(chance.sample(noise, 3))} {words[i % 3]} {' '.join(chance.sample(noise, 3))} {i}", words[i % 3])
        for i in range(count)
    ]


def labels_sheet(path: Path, count: int = 90) -> Path:
    book = openpyxl.Workbook()
    book.active.append(["文本", "标签"])
    for text, word in rows(count):
        book.active.append([text, WORDS[word]])
    book.save(path)
    return path


def tags_sheet(path: Path, count: int = 90) -> Path:
    lines = ["词,标签"]
    for text, word in rows(count):
        before, after = text.split(word)
        lines += [f"{piece},O" for piece in before.split()]
        lines += [f"{piece},{'BI'[bool(i)]}-{WORDS[word]}" for i, piece in enumerate(word.split())]
        lines += [*(f"{piece},O" for piece in after.split()), ","]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder(tmp_path_factory.mktemp("bert"))


def test_labels_from_sheet_to_verdict(base: Build, tmp_path: Path) -> None:
    file, out = labels_sheet(tmp_path / "a.xlsx"), tmp_path / "out"
    hint = told(["plan", file, "--base", base("qwen2"), "--no-measure"])
    assert [(doubt["code"]) for doubt in hint["doubts"]] == ["could_be_seq_cls"]
    assert hint["plan"]["task"] == "causal_lm"
    made = told(["train", file, "--base", base("qwen2"), "-o", out, "--set", "task=seq_cls", *FAST])
    assert made["verdict"]["metric"] == "exact_match" and made["verdict"]["outcome"] == "better"
    assert made["forgetting"] is None
    plan = json.loads((out / "plan.json").read_text("utf-8"))
    assert (plan["plan"]["task"], plan["plan"]["kind"], plan["plan"]["max_new_tokens"]) == ("seq_cls", "extraction", 1)
    proof = told(["evaluate", out])
    assert set(proof["tuned"]) == {"exact_match", "macro_f1", "loss"} == set(proof["base"])
    assert set(proof["others"]) == set(proof["against"]) == {"tfidf", "majority"}
    table = proof["confusion"]
    assert table["labels"] == sorted(WORDS.values())
    assert sum(map(sum, table["counts"])) == len(proof["rows"])
    right = sum(table["counts"][i][i] for i in range(len(table["labels"])))
    assert right == round(proof["tuned"]["exact_match"] * len(proof["rows"])) > 0.8 * len(proof["rows"])
    pair = told(["compare", out, "new tea cup ok"])
    assert pair["tuned"] == "杯子" and set(pair["chances"]["tuned"]) == set(WORDS.values())
    ask = tmp_path / "ask.csv"
    ask.write_text("文本\nblue dress 女\norder 手机壳 gift\n", encoding="utf-8")
    told(["answer", out, ask, "-o", tmp_path / "filled.xlsx"])
    filled = [row[-1] for row in openpyxl.load_workbook(tmp_path / "filled.xlsx").active.iter_rows(values_only=True)]
    assert len(filled) == 3 and set(filled[1:]) <= set(WORDS.values())
    _, shown, _ = said(["evaluate", out, "--lang", "en"])
    assert "plain classifier" in shown and "right ↓ given →" in shown
    report = (out / "report.md").read_text("utf-8")
    assert "AutoModelForSequenceClassification" in report and "TF-IDF" in report


@pytest.mark.slow
def test_labels_on_an_encoder(encoder: Path, tmp_path: Path) -> None:
    """It writes nothing: without the task it is refused, with it its base says the most frequent label."""
    file = labels_sheet(tmp_path / "a.xlsx")
    assert refused(["plan", file, "--base", encoder]) == "base_only_reads"
    made = told(["train", file, "--base", encoder, "-o", tmp_path / "out", "--set", "task=seq_cls", *FAST,
                 "--set", "n_epochs=10", "--set", "learning_rate=5e-3"])  # fmt: skip
    assert made["verdict"]["outcome"] == "better"
    proof = json.loads((tmp_path / "out" / "evaluation.json").read_text("utf-8"))
    assert proof["base"]["exact_match"] == proof["others"]["majority"]["exact_match"] < 0.6


def test_tags_from_sheet_to_verdict(base: Build, tmp_path: Path) -> None:
    """One word a row, a blank row between texts: the task needs not be named."""
    file, out = tags_sheet(tmp_path / "a.csv"), tmp_path / "out"
    checked = told(["check", file])
    assert checked["shape"] == "tags" and checked["examples"] == 90 and not checked["dropped"]
    made = told(["train", file, "--base", base("qwen2"), "-o", out, *FAST])
    assert made["verdict"]["metric"] == "entity_f1" and made["verdict"]["outcome"] == "better"
    proof = told(["evaluate", out])
    assert proof["tuned"]["entity_f1"] > 0.8 and proof["base"]["entity_f1"] == 0.0
    assert set(proof["confusion"]["labels"]) >= set(WORDS.values())
    answer = told(["compare", out, "blue tea cup ok"])["tuned"]
    assert [(one.type, one.text) for one in read_entities(answer) or ()] == [("杯子", "tea cup")]
    seen = told(["xray", file, "--base", base("qwen2"), "--set", "task=token_cls"])
    assert seen["cut"] == seen["all_masked"] == 0 and seen["end_token_learned"] == 90


@pytest.mark.parametrize(
    ("task", "lines", "code"),
    [
        ("seq_cls", [f"问题 {i},是" for i in range(30)], "labels_too_few"),
        ("seq_cls", [f"问题 {i} 怎么办,第 {i} 条说明" for i in range(30)], "labels_not_closed"),
    ],
)
def test_what_cannot_be_labels_is_refused(task: str, lines: list[str], code: str, base: Build, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("\n".join(["文本,标签", *lines]), encoding="utf-8")
    assert refused(["plan", file, "--base", base("qwen2"), "--set", f"task={task}"]) == code


def test_marks_that_fit_nowhere_are_listed(base: Build, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    lines = [f"{i} 新款海苔 500g,产品:海苔" for i in range(20)]
    file.write_text("\n".join(["文本,实体", *lines, "酸奶 2,产品:海苔", "酸奶 3,乱写的"]), encoding="utf-8")
    found: dict[str, Any] = told(["check", file, "--set", "task=token_cls"])
    assert {(left["row"]) for left in found["dropped"]} == {22, 23}
    assert {(one["row"], one["code"]) for one in found["issues"] if one["code"].startswith("label_")} == {
        (22, "label_spans_do_not_fit"), (23, "label_spans_unreadable")}  # fmt: skip
    assert found["examples"] == 20
    assert [one["code"] for one in told(["plan", file, "--base", base("qwen2"), "--no-measure"])["doubts"]] == [
        "could_be_token_cls"]  # fmt: skip


# ── the real demonstration model ──

WANTS = {
    "退货": (
        "这件衣服我要退货",
        "鞋子尺码不对，退了吧",
        "I want to return this jacket",
        "please take these shoes back",
    ),
    "物流": ("我的包裹到哪了", "快递三天没动了", "where is my parcel now", "the delivery has not moved for days"),
    "发票": ("请给我开一张发票", "发票抬头写错了", "send me an invoice please", "the invoice has the wrong name"),
    "表扬": ("质量很好，客服也热情", "下次还来你家买", "great quality and kind people", "I love it, will buy again"),
}
BEFORE = ("", "你好，", "hello, ", "请问 ", "亲，", "ok ", "今天 ", "hi there, ")


def wants_sheet(path: Path) -> Path:
    """128 rows: each sentence with each beginning."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("文本", "标签"))
        for before in BEFORE:
            rows.writerows((before + text, label) for label, texts in WANTS.items() for text in texts)
    return path


@pytest.mark.slow
def test_the_demonstration_model_learns_labels(tmp_path: Path) -> None:
    settings = (
        "task=seq_cls",
        "training_rows=64",
        "n_epochs=2",
        "learning_rate_probe=false",
        "threads=1",
        "test_rows=24",
        "validation_rows=8",
    )
    made = told(["train", wants_sheet(tmp_path / "a.csv"), "-o", tmp_path / "out",
                 *(word for pair in settings for word in ("--set", pair))])  # fmt: skip
    proof = told(["evaluate", tmp_path / "out"])
    assert proof["tuned"]["exact_match"] >= proof["others"]["majority"]["exact_match"] + 0.3
    assert proof["tuned"]["exact_match"] >= 0.7 and made["verdict"]["metric"] == "exact_match"
    assert told(["compare", tmp_path / "out", "包裹怎么还没到，快递三天没动了"])["tuned"] == "物流"
