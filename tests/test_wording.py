"""Times, money and what a parameter may be, as a line of a terminal says them."""

from __future__ import annotations

import re

import pytest

from postil.plan import fields
from postil.wording import allowed, duration, in_common, money, moneys


def test_what_a_parameter_may_be() -> None:
    by_name = {field.name: allowed(field) for field in fields("en")}
    assert by_name["r"] == "1 … 1024" and by_name["thinking"] == "true | false"
    assert by_name["dtype"] == "float32 | bfloat16 | float16" and by_name["system"] == "-"


def test_times_and_money(monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    assert [re.findall(r"[\d.]+", duration(seconds)) for seconds in (5, 600, 9000)] == [["5"], ["10"], ["2.5"]]
    monkeypatch.setenv("POSTIL_CNY_PER_USD", "8")
    yuan = {"en": "¥", "zh": "￥"}[lang]
    assert money(16, "CNY") == f"{yuan}16.00 ($2.00)" and money(2, "USD") == f"{yuan}16.00 ($2.00)"
    assert moneys(0.001, 0.009, "CNY") == f"{yuan}<0.01 ($<0.01)"
    assert moneys(8, 16, "CNY") == f"{yuan}8.00 ($1.00) – {yuan}16.00 ($2.00)"


def test_what_stands_before_all_questions_is_an_instruction() -> None:
    assert in_common(["请找出主体：红裙", "请找出主体：蓝裙子"]) == 0  # six characters may be chance
    assert in_common(["请从标题里找出主体：红裙", "请从标题里找出主体：蓝裙子"]) == 10
    assert in_common(["the same question"] * 3) == 0
    assert in_common(["only one"]) == in_common([]) == in_common(["a", "b"]) == 0
