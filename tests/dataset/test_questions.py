"""Which column asks, in a sheet that has no answers yet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openpyxl import Workbook

from postil.dataset import has_column, questions
from postil.errors import DataError


def book(path: Path, *rows: tuple[object, ...]) -> Path:
    made = Workbook()
    for row in rows:
        made.worksheets[0].append(row)
    made.save(path)
    return path


def test_the_heading_that_training_knew_wins(tmp_path: Path) -> None:
    file = book(
        tmp_path / "a.xlsx", ("七月上新",), ("编号", "问题", "商品标题"), (1, "贵吗", "纯棉四件套"), (2, "好吗", None)
    )
    found = questions(file, known="商品标题")
    assert dict(found.questions) == {3: "纯棉四件套"}
    assert (found.header_row, found.column, found.empty) == (2, "C", 1)


def test_the_user_wins_over_everything(tmp_path: Path) -> None:
    file = book(tmp_path / "a.xlsx", ("问题", "商品标题"), ("贵吗", "纯棉四件套"))
    assert dict(questions(file, column="A", known="商品标题").questions) == {2: "贵吗"}
    assert dict(questions(file, column="问题", known="商品标题").questions) == {2: "贵吗"}


def test_a_heading_by_its_meaning(tmp_path: Path) -> None:
    file = book(tmp_path / "a.xlsx", ("日期", "客户提问"), ("2026-01-02", "几天到货？"), ("2026-01-03", "能退吗？"))
    assert dict(questions(file).questions) == {2: "几天到货？", 3: "能退吗？"}


def test_a_single_column_of_text_without_heading(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("几天到货啊\n能不能退呢\n怎么开发票\n", "utf-8")
    assert list(questions(file).questions.values())[-1] == "怎么开发票"


def test_records_ask_by_key(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(json.dumps({"question": f"q{i}", "n": i}) for i in range(3)), "utf-8")
    assert dict(questions(file).questions) == {1: "q0", 2: "q1", 3: "q2"}


def test_nothing_that_asks_is_said_with_the_columns(tmp_path: Path) -> None:
    file = book(tmp_path / "a.xlsx", ("金额", "日期"), (3, "2026-01-02"), (4, "2026-01-03"))
    with pytest.raises(DataError) as refused:
        questions(file)
    assert refused.value.code == "no_question_column" and "金额" in str(refused.value)


def test_a_system_prompt_is_told_from_a_column(tmp_path: Path) -> None:
    file = book(tmp_path / "a.xlsx", ("角色设定", "问题", "答案"), ("你是客服", "贵吗", "不贵"))
    assert has_column(file, "角色设定") and has_column(file, "A")
    assert not has_column(file, "你是一个客服") and not has_column(file, "Z")
