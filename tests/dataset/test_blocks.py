# ruff: noqa: E501 - a sample a line reads best
from __future__ import annotations

from pathlib import Path

import pytest

from postil.dataset import load
from postil.dataset.blocks import are_marked
from postil.errors import DataError
from tests.dataset.made import PAIRS, accounted, codes, said, text


@pytest.mark.parametrize(
    "pair",
    [
        "问：{q}\n答：{a}\n\n", "Q: {q}\nA: {a}\n\n", "{n}. Q：{q}\nA：{a}\n\n", "Q{n}: {q}\n\nA{n}: {a}\n\n", "用户：{q}\n客服：{a}\n\n",
        "**Q:** {q}\n**A:** {a}\n\n", "### Instruction:\n{q}\n\n### Response:\n{a}\n\n", "【问题】：{q}\n【答案】：{a}\n\n",
        "問：{q}\n答：{a}\n\n", "- 提问：{q}\n- 回答：{a}\n\n", "Human: {q}\nAssistant: {a}\n\n", "(1) 问题{n}：{q}\n答案{n}：{a}\n\n",
        "【问题】\n{q}\n【答案】\n{a}\n\n", "买家{n} 2026-03-01 10:02:33\n{q}\n晴川旗舰店 2026-03-01 10:02:40\n{a}\n\n",
        "[2026-03-01 10:02:33] 张三{n}: {q}\n[2026-03-01 10:02:40] 客服小美: {a}\n",
        "2026-03-01 10:02 李四{n}：{q}\n2026-03-01 10:03 客服：{a}\n",
    ],
)  # fmt: skip
def test_ways_to_mark_pairs(tmp_path: Path, pair: str) -> None:
    content = "".join(pair.format(q=q, a=a, n=n) for n, (q, a) in enumerate(PAIRS, 1))
    found = load(text(tmp_path / "a.txt", content))
    accounted(found)
    assert said(found) == [[("user", q), ("assistant", a)] for q, a in PAIRS]
    assert not found.dropped and not codes(found)


def test_a_list_without_blank_lines_is_no_dialogue(tmp_path: Path) -> None:
    found = load(text(tmp_path / "a.txt", "".join(f"问：{q}\n答：{a}\n" for q, a in PAIRS)))
    assert len(found.examples) == len(PAIRS) and codes(found) == {"pairs_not_separated"}


def test_a_chat_without_blank_lines_is_one_dialogue(tmp_path: Path) -> None:
    found = load(text(tmp_path / "a.txt", "".join(f"用户：{q}\n客服：{a}\n" for q, a in PAIRS)))
    assert len(found.examples) == 1 and len(found.examples[0].messages) == 2 * len(PAIRS)


def test_paragraphs_headings_and_specifications_inside_answers(tmp_path: Path) -> None:
    found = load(text(tmp_path / "a.txt", (
        "产品手册\n\n问：参数是多少？\n答：如下：\n输入：220V\n输出：12V\n\n第二段也是答案，要保留。\n\n【售后】\n问：保修多久？\n答：一年。\n\n"
        "安装\n\n问：谁来装？\n答：师傅上门。\n")))  # fmt: skip
    accounted(found)
    assert said(found)[0][1] == ("assistant", "如下：\n输入：220V\n输出：12V\n\n第二段也是答案，要保留。")
    assert said(found)[1:] == [
        [("user", "保修多久？"), ("assistant", "一年。")],
        [("user", "谁来装？"), ("assistant", "师傅上门。")],
    ]
    assert [left.row for left in found.not_data if left.code == "heading_line"] == [1, 10, 14]


def test_questions_that_nobody_answered(tmp_path: Path) -> None:
    found = load(text(tmp_path / "a.txt", "问：甲？\n\n问：乙？\n答：丙。\n问：丁？\n\n问：戊？\n答：己。\n"))
    accounted(found)
    assert said(found) == [[("user", "乙？"), ("assistant", "丙。")], [("user", "戊？"), ("assistant", "己。")]]
    assert [(left.row, left.code) for left in found.dropped] == [(1, "missing_answer"), (5, "unanswered_last_turn")]


def test_plain_prose_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load(text(tmp_path / "a.txt", "很久很久以前\n有一家小店\n卖伞\n"))
    assert error.value.code == "no_dialogue_found" and "问：" in error.value.remedy("zh")


def test_paragraphs_that_begin_with_a_question(tmp_path: Path) -> None:
    found = load(text(tmp_path / "a.txt", "".join(f"{i}. {q}\n{a}\n另一行\n\n" for i, (q, a) in enumerate(PAIRS, 1))))
    accounted(found)
    assert said(found)[0] == [("user", "怎么退货？"), ("assistant", "在订单页点申请退货。\n另一行")]
    assert len(found.examples) == len(PAIRS) and codes(found) == {"first_lines_asked"}


def _exported(line: str) -> str:
    said = [
        (f"tb{n}_小鱼{n}" if side == 0 else "晴川旗舰店:小美", words)
        for n, pair in enumerate(PAIRS, 1)
        for side, words in enumerate(pair)
    ]
    return "".join(line.format(who=who, text=words) for who, words in said)


@pytest.mark.parametrize("line", ["{who} (2026-03-01 10:02:33)：\n{text}\n", "2026-03-01 10:02:33 {who}\n{text}\n"])
def test_names_with_colons_in_chat_exports(tmp_path: Path, line: str) -> None:
    found = load(text(tmp_path / "a.txt", "聊天记录\n导出时间：2026-03-02 09:00:00\n\n" + _exported(line)))
    accounted(found)
    assert said(found) == [[("user", q), ("assistant", a)] for q, a in PAIRS]
    assert not found.dropped and not codes(found)


def test_a_long_chat_of_two_people_without_a_break_is_told(tmp_path: Path) -> None:
    chat = "".join(f"小鱼 10:02\n{q}\n客服小美 10:03\n{a}\n" for q, a in PAIRS)
    found = load(text(tmp_path / "a.txt", chat))
    assert len(found.examples) == 1 and "chats_not_separated" in {issue.code for issue in found.issues}


def test_what_is_marked() -> None:
    assert are_marked(["FAQ", "问：一？", "答：一。", "问：二？", "答：二。"])
    assert not are_marked(["问：一？\n答：一。", "问：二？\n答：二。", "问：三？\n答：三。", "问：四？\n答：四。"])
    assert are_marked(["怎么退货？", "两天内。"] * 4)
    assert not are_marked(["怎么退货？", "多久？", "两天内。"] * 4)


def test_texts_that_ask_and_answer_by_turns(tmp_path: Path) -> None:
    pairs = [
        ("灯泡坏了保修吗？", "保修两年。"),
        ("色温能调吗？", "能，三档。"),
        ("多少瓦？", "九瓦。"),
        ("频闪吗？", "不频闪。"),
    ]
    lines = ["吸顶灯问答", ""] + [line for pair in pairs for line in pair]
    found = load(text(tmp_path / "a.txt", "\n".join(lines)))
    assert said(found) == [[("user", question), ("assistant", answer)] for question, answer in pairs]
    assert "lines_by_turns" in codes(found)
    accounted(found)


def test_only_the_answers_are_marked(tmp_path: Path) -> None:
    pairs = [
        ("灯罩能水洗吗？", "能。"),
        ("送螺丝吗？", "送。"),
        ("能调光吗？", "能。"),
        ("有遥控吗？", "有。"),
        ("多重？", "两斤。"),
    ]
    lines = [f"{n}、{question}\n答：{answer}" for n, (question, answer) in enumerate(pairs, 1)]
    found = load(text(tmp_path / "a.txt", "\n".join(lines)))
    assert said(found) == [[("user", question), ("assistant", answer)] for question, answer in pairs]
