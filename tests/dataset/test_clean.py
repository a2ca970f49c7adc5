# ruff: noqa: E501 - a sample a line reads best
from __future__ import annotations

from pathlib import Path

import pytest

from postil.dataset import ask
from postil.dataset.clean import settle, without_duplicates
from postil.dataset.drafts import Draft, Ledger, Turn
from tests.dataset.made import PAIRS, accounted, codes, csv, said


def settled(*turns: tuple[str, str]) -> tuple[list[tuple[str, str]] | None, Ledger]:
    ledger = Ledger(range(1, len(turns) + 1))
    draft = Draft([Turn(role, text, (i,)) for i, (role, text) in enumerate(turns)], tuple(range(len(turns))))  # type: ignore[arg-type]
    one = settle(draft, ledger)
    return None if one is None else [(m.role, m.content) for m in one.example.messages], ledger


def test_order_is_restored_and_all_changes_are_listed() -> None:
    messages, ledger = settled(
        ("assistant", "您好"), ("user", "甲"), ("user", "乙"), ("assistant", "丙"), ("system", "简短"), ("assistant", "丁"),
        ("user", "戊"),
    )  # fmt: skip
    assert messages == [("system", "简短"), ("user", "甲\n乙"), ("assistant", "丙\n丁")]
    assert [repair.code for repair in ledger.repaired] == [
        "system_once", "messages_joined", "messages_joined", "opening_removed", "unanswered_removed"]  # fmt: skip
    dropped, _ = ledger.close({1, 2, 3, 4, 5})
    assert [(left.row, left.code) for left in dropped] == [(1, "assistant_first"), (7, "unanswered_last_turn")]


def test_different_system_texts_are_joined() -> None:
    messages, ledger = settled(("system", "甲"), ("user", "问"), ("system", "乙"), ("assistant", "答"))
    assert messages == [("system", "甲\n乙"), ("user", "问"), ("assistant", "答")]
    assert [repair.code for repair in ledger.repaired] == ["system_joined"]


@pytest.mark.parametrize(
    ("turns", "code"),
    [
        ([("user", "问")], "missing_answer"),
        ([("user", "问"), ("assistant", " \u3000")], "missing_answer"),
        ([("assistant", "答")], "missing_question"),
        ([("system", "只有提示")], "missing_both"),
        ([("assistant", "答"), ("user", "问")], "answer_before_question"),
    ],
)
def test_what_cannot_be_learned_from(turns: list[tuple[str, str]], code: str) -> None:
    messages, ledger = settled(*turns)
    assert messages is None
    dropped, not_data = ledger.close(())
    assert (
        {left.code for left in dropped} - {"assistant_first"} == {code} and len(dropped) == len(turns) and not not_data
    )


def test_the_first_of_equal_pairs_stays() -> None:
    ledger = Ledger([2, 3, 4])
    drafts = [Draft([Turn("user", q, (i,)), Turn("assistant", "答", (i,))], (i,)) for i, q in enumerate("甲乙甲")]
    kept = without_duplicates([one for draft in drafts if (one := settle(draft, ledger))], ledger)
    assert [one.example.rows for one in kept] == [(2,), (3,)]
    (dropped,) = ledger.close({0, 1})[0]
    assert (dropped.row, dropped.code, dropped.values) == (4, "duplicate", {"first": 2})


@pytest.mark.parametrize(
    ("instruction", "asked"),
    [
        (None, "伞"), ("", "伞"), ("提取主体", "提取主体\n伞"), ("提取主体：", "提取主体：伞"), ("Extract the noun: ", "Extract the noun: 伞"),
        ("标题是《{}》，主体是？", "标题是《伞》，主体是？"),
    ],
)  # fmt: skip
def test_ask(instruction: str | None, asked: str) -> None:
    assert [(m.role, m.content) for m in ask("伞", None, instruction)] == [("user", asked)]
    assert [(m.role, m.content) for m in ask("伞", "简短", instruction)] == [("system", "简短"), ("user", asked)]


def test_a_prompt_for_all_rows_is_the_one_that_ask_makes(tmp_path: Path) -> None:
    content = "标题,主体\n" + "".join(f"{q},{a}\n" for q, a in PAIRS)
    found = csv(tmp_path / "a.csv", content, system="简短", instruction="提取主体：")
    assert found.examples[0].question == ask(PAIRS[0][0], "简短", "提取主体：")
    assert (found.system, found.instruction) == ("简短", "提取主体：")


def test_a_rows_own_system_text_wins_and_is_listed(tmp_path: Path) -> None:
    content = "系统提示词,问题,答案\n自己的,甲？,乙。\n" + "".join(f",{q},{a}\n" for q, a in PAIRS)
    found = csv(tmp_path / "a.csv", content, system="共同的")
    assert [example.messages[0].content for example in found.examples[:2]] == ["自己的", "共同的"]
    assert "own_system_kept" in codes(found)


def test_masking(tmp_path: Path) -> None:
    content = "问题,答案\n我的电话13900001234,记下了，回拨 139-0000-1234。\n" + "".join(f"{q},{a}\n" for q, a in PAIRS)
    assert "personal_mobile" in codes(csv(tmp_path / "a.csv", content))
    found = csv(tmp_path / "a.csv", content, mask=True)
    accounted(found)
    assert said(found)[0] == [("user", "我的电话[手机号]"), ("assistant", "记下了，回拨 [手机号]。")]
    assert [(repair.code, repair.cell) for repair in found.repaired] == [("masked", "A2"), ("masked", "B2")]
    assert "personal_mobile" not in codes(found)
