"""Answers of a closed form are read field by field, and compared so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.model.fields import field_match, read_fields

ORDER = '{"item": "mug", "qty": 3, "tags": ["a", "b"]}'
TEXTS = st.text('ab 1.|:=;,{}[]"\n、：\t-_é中', max_size=30)


@pytest.mark.parametrize(
    ("text", "form", "keys"),
    [
        (ORDER, "json", {".item", ".qty", ".tags[]"}),
        ('[{"a": 1}, {"a": 2}]', "json", {"[0].a", "[1].a"}),
        ("浙江省|杭州市|文三路12号", "columns", {"0", "1", "2"}),
        ("Lind\tMill Lane\tLeeds", "columns", {"0", "1", "2"}),
        ("name: Lind\ncity: Leeds", "pairs", {"name", "city"}),
        ("客户：李雷；颜色：红", "pairs", {"客户", "颜色"}),
        ("item=mug, colour=red", "pairs", {"item", "colour"}),
        ("1,200.50 €", "number", {""}),
        ("¥120,000.00", "number", {""}),
        ("37 %", "number", {""}),
        ("2026-12-01", "code", {""}),
        ("refund_status", "code", {""}),
        ("C-DMA", "code", {""}),
        ("退货、质量", "list", {""}),
        ("red, navy, office", "list", {""}),
        ("- one\n- two words", "list", {""}),
    ],
)
def test_each_form_is_told_from_the_answer(text: str, form: str, keys: set[str]) -> None:
    fields = read_fields(text)
    assert fields is not None and fields.form == form
    assert fields.keys == keys


@pytest.mark.parametrize(
    "text",
    [
        "",
        "可以的，请在订单页面申请电子发票。",
        "Orders paid before 4 pm ship the same day, all others the next day.",
        "Yes.",
        "保温杯",
        "https://example.org/a",
        "It starts at 10:30, be there.",
        "{not json}",
        "Good morning",
    ],
)
def test_sentences_and_words_have_none(text: str) -> None:
    assert read_fields(text) is None


@pytest.mark.parametrize(
    ("reference", "answer", "share"),
    [
        (ORDER, ORDER, 1.0),
        (ORDER, '{"tags": ["b", "a"], "qty": 3.0, "item": "mug"}', 1.0),
        (ORDER, '{"item": "cup", "qty": 3, "tags": ["a"]}', 2 / 4),
        (ORDER, "mug", 0.0),
        (ORDER, '{"item": "mug", "qty": 3, "tags": ["a", "b"], "more": 1}', 4 / 5),
        ("浙江省|杭州市|文三路", "浙江省 | 杭州市 | 文一路", 2 / 3),
        ("a|b", "b|a", 0.0),
        ("a|b", "a|b|c|d", 2 / 4),
        ("name: Lind\ncity: Leeds", "city: Leeds\nname: Lind", 1.0),
        ("1,200.50", "1200.5", 1.0),
        ("¥１２０", "¥120", 1.0),
        ("120", "121", 0.0),
        ("退货、质量", "质量、退货", 1.0),
        ("退货、质量", "质量", 0.0),
        ("A-1", "a-1", 0.0),
        ("保温杯", "保温杯", 1.0),
        ("保温杯", "台灯", 0.0),
        ("", "", 1.0),
    ],
)
def test_the_share_of_fields_that_are_right(reference: str, answer: str, share: float) -> None:
    assert field_match(reference, answer) == pytest.approx(share)


@given(TEXTS, TEXTS)
def test_any_two_texts_have_a_share(reference: str, answer: str) -> None:
    assert 0.0 <= field_match(reference, answer) <= 1.0
    assert field_match(reference, reference) == 1.0


@given(
    st.recursive(
        st.text(max_size=5) | st.integers() | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    )
)
def test_json_of_any_shape_is_its_own_answer(content: object) -> None:
    text = json.dumps(content)
    assert field_match(text, text) == 1.0
