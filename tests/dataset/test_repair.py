# ruff: noqa: E501 - a sample a line reads best
from __future__ import annotations

import pytest

from postil.dataset.drafts import Ledger, Turn
from postil.dataset.repair import mend, unnumbered, wrapped


def mended(text: str) -> tuple[str, list[str]]:
    ledger = Ledger([1])
    turn = Turn("assistant", text, (0,), "B1")
    mend(turn, ledger)
    assert all(repair.row == 1 and repair.cell == "B1" for repair in ledger.repaired)
    return turn.content, [repair.code for repair in ledger.repaired]


@pytest.mark.parametrize(
    ("before", "after", "codes"),
    [
        ("退货\x07地址", "退货地址", ["control_characters"]),
        ("退货_x0007_地址", "退货地址", ["control_characters"]),
        ("第一行\r\n第二行", "第一行\n第二行", ["line_breaks"]),
        ("\u200b发\u200b货\ufeff", "发货", ["hidden_characters"]),
        ("使⽤的⺠族⻔店ﬁle", "使用的民族门店file", ["compatibility_characters"]),
        ("  前后 \u3000", "前后", ["trimmed"]),
        ("<p>您好&nbsp;，<br/>请<b>稍等</b></p>", "您好 ，\n请稍等", ["html_left"]),
        ('看<a href="https://example.com/a">这里</a>', "看这里 (https://example.com/a)", ["html_left"]),
        ("甲&amp;乙 &#65;&lt;3", "甲&乙 A<3", ["html_left"]),
        ("<div>一</div><div>二</div>", "一\n二", ["html_left"]),
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;", ["html_left"]),
    ],
)
def test_mended(before: str, after: str, codes: list[str]) -> None:
    assert mended(before) == (after, codes)


@pytest.mark.parametrize(
    "text",
    [
        "全角１２３，ＡＢＣ：（不动）", "3 < 5 且 a > b", "AT&T 和 R&D", "表情👨‍👩‍👧没坏", "می‌خواهم", "写法是 `<br>`", "<b>标签怎么用？",
        "```html\n<p>代码</p>\n```", "“引号”保留", "温度2~8℃，①②③", "第一行\n第二行", "无", "0", "<未填>", "x<y>z",
    ],
)  # fmt: skip
def test_left_as_it_is(text: str) -> None:
    assert mended(text) == (text, [])


def test_quotes_around_every_text_of_a_file() -> None:
    turns = [Turn("user", "“怎么退货？”", (0,)), Turn("assistant", "“点申请。”", (1,))]
    ledger = Ledger([1, 2])
    wrapped(turns, ledger)
    assert [turn.content for turn in turns] == ["怎么退货？", "点申请。"] and len(ledger.repaired) == 2


@pytest.mark.parametrize("other", ["点“申请”。", "“点”和“申请”", "点申请。"])
def test_quotes_of_some_texts_stay(other: str) -> None:
    turns = [Turn("user", "“怎么退货？”", (0,)), Turn("assistant", other, (1,))]
    wrapped(turns, ledger := Ledger([1, 2]))
    assert turns[0].content == "“怎么退货？”" and not ledger.repaired


def test_a_running_number_before_questions_is_taken_off() -> None:
    turns = [Turn("user", f"{n}. 怎么退货{n}？", (n - 1,)) for n in range(1, 8)]
    ledger = Ledger(range(1, 8))
    unnumbered(turns, ledger)
    assert [turn.content for turn in turns] == [f"怎么退货{n}？" for n in range(1, 8)]
    assert [(r.code, r.row) for r in ledger.repaired] == [("numbering_removed", n) for n in range(1, 8)]


def test_numbers_that_do_not_run_or_stand_for_something_stay() -> None:
    for texts in (
        [f"{n}、这款" for n in (3, 3, 8, 1, 12, 5)], [f"{n}.5米多少钱？" for n in range(1, 8)],
        [f"{n}. 一？" for n in range(1, 5)], ["1. 一？", "2. 二？", "三？", "四？", "五？", "六？", "七？"],
    ):  # fmt: skip
        turns = [Turn("user", text, (i,)) for i, text in enumerate(texts)]
        unnumbered(turns, Ledger(range(len(texts))))
        assert [turn.content for turn in turns] == texts
