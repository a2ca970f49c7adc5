"""Commas without quotation marks: the text stays whole, and each row that was put together is told."""

from __future__ import annotations

import pytest

from .made import accounted, codes, csv, said

ROWS = [
    ("伞坏了能修吗？", "能修,寄回来即可。"),
    ("骨架是什么材料？", "碳纤维,很轻。"),
    ("多久发货？", "当天发。"),
    ("包邮吗？", "包,偏远除外,补十元。"),
]
WHOLE = [[("user", question), ("assistant", answer)] for question, answer in ROWS]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("问题,答案", "{q},{a}"),
        ("编号,问题,答案", "7,{q},{a}"),
        ("问题,答案,分类", "{q},{a},售后"),
        ("分类,问题,答案,日期", "售后,{q},{a},2026-05-01"),
    ],
)
def test_the_answer_stays_whole(tmp_path, header, row):
    lines = [header, *(row.format(q=question, a=answer) for question, answer in ROWS)]
    dataset = csv(tmp_path / "a.csv", "\n".join(lines) + "\n")
    assert said(dataset) == WHOLE
    assert {repair.code for repair in dataset.repaired} == {"commas_kept"}
    assert not codes(dataset) & {"extra_cells", "commas_guessed"}
    accounted(dataset)


def test_a_comma_in_the_question_is_found_by_its_mark(tmp_path):
    rows = "问题,答案\n伞骨断了,能换吗？,能换,先拍照。\n要寄回吗？,要。\n太阳伞,晴雨两用吗,是的,放心\n"
    dataset = csv(tmp_path / "a.csv", rows)
    assert said(dataset)[0] == [("user", "伞骨断了,能换吗？"), ("assistant", "能换,先拍照。")]
    assert said(dataset)[2] == [("user", "太阳伞,晴雨两用吗"), ("assistant", "是的,放心")]
    assert "commas_guessed" not in codes(dataset)


def test_where_nothing_says_what_belongs_together_it_is_told(tmp_path):
    dataset = csv(tmp_path / "a.csv", "问题,答案\n退货,七天内,包装完好\n发货,当天\n换货,十五天\n")
    assert said(dataset)[0] == [("user", "退货"), ("assistant", "七天内,包装完好")]
    (issue,) = [issue for issue in dataset.issues if issue.code == "commas_guessed"]
    assert (issue.row, issue.cell) == (2, "B2")


def test_three_columns_of_sentences_are_not_put_together_blindly(tmp_path):
    rows = "问题,答案,补充说明\n怎么修？,寄回,附纸条,写电话\n多久？,三天,节假日顺延。\n包邮吗？,包,偏远除外。\n"
    assert "extra_cells" in codes(csv(tmp_path / "a.csv", rows))


def test_the_same_comma_in_each_row_cuts_no_sentence(tmp_path):
    rows = "".join(f"第{n}把伞{n}元吗？,是的,送伞套{n}个。\n" for n in range(12))
    dataset = csv(tmp_path / "a.csv", "问题,答案\n" + rows)
    assert said(dataset)[3] == [("user", "第3把伞3元吗？"), ("assistant", "是的,送伞套3个。")]


def test_a_full_width_comma_in_each_sentence_is_not_taken_for_the_delimiter(tmp_path):
    rows = "".join(f"{n},第{n}把伞黑的，有吗？,有的,仓库{n}号，今天发。\n" for n in range(12))
    dataset = csv(tmp_path / "a.csv", "编号,问题,答案\n" + rows)
    assert said(dataset)[3] == [("user", "第3把伞黑的，有吗？"), ("assistant", "有的,仓库3号，今天发。")]
