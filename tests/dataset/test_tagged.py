# ruff: noqa: E501 - a sample a line reads best
"""Marks in texts: however people write them, one form comes out, or the row is listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postil.dataset import for_task, load, looks_tagged
from postil.dataset.raw import Line, Raw, Row, Sheet
from postil.dataset.tagged import tagged_example
from postil.errors import DataError
from postil.model.entities import from_tags, read_entities, to_tags, units_of, write_entities
from postil.records import Dataset, Example, Message

TEXT = "新款海苔 500g Acme"
WANTED = [(2, 4, "产品", "海苔"), (10, 14, "品牌", "Acme")]


def example(text: str, answer: str, row: int = 2) -> Example:
    return Example((Message("user", text), Message("assistant", answer)), (row,))


def marks(made: Example | str) -> list[tuple[int, int, str, str]] | str:
    if isinstance(made, str):
        return made
    found = read_entities(made.answer)
    assert found is not None
    return [(one.start, one.end, one.type, one.text) for one in found]


@pytest.mark.parametrize(
    "answer",
    [
        "产品:海苔; 品牌:Acme", "产品：海苔；品牌：Acme", "产品:海苔\n品牌:acme", "品牌:Acme;产品:海苔;",
        '[{"text": "海苔", "type": "产品"}, {"text": "Acme", "type": "品牌"}]',
        '[{"entity": "海苔", "label": "产品", "start": 2}, {"word": "Acme", "tag": "品牌", "start": 10, "end": 14}]',
        '{"产品": ["海苔"], "品牌": "Acme"}',
        "O O B-产品 I-产品 O O O O B-品牌 I-品牌 I-品牌 I-品牌",
        "O O B-产品 I-产品 O O B-品牌",
        "新款[海苔](产品) 500g [Acme](品牌)",
        "新款<产品>海苔</产品> 500g <品牌>Acme</品牌>",
        '[{"start": 2, "end": 4, "type": "产品", "text": "海苔"}, {"start": 10, "end": 14, "type": "品牌", "text": "Acme"}]',
    ],
)  # fmt: skip
def test_every_way_to_write_marks(answer: str) -> None:
    made = tagged_example(example(TEXT, answer))
    assert marks(made) == WANTED
    assert isinstance(made, Example) and tagged_example(made) == made  # once more changes nothing


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("产品:紫菜", "spans_do_not_fit"), ("海苔", "spans_unreadable"), ("[1, 2]", "spans_unreadable"), ("[", "spans_unreadable"),
        ('{"产品": 3}', "spans_unreadable"), ('[{"text": "海苔"}]', "spans_unreadable"),
        ("O B-产品", "spans_do_not_fit"), ("旧款[海苔](产品)", "spans_do_not_fit"),
        ("产品:海苔; 食品:海苔", "spans_overlap"), ("品牌:cm", "span_inside_word"), ("[" * 5000, "spans_unreadable"),
    ],
)  # fmt: skip
def test_what_cannot_be_aligned(answer: str, fault: str) -> None:
    assert tagged_example(example(TEXT, answer)) == fault


@pytest.mark.parametrize("answer", ["无", "[]", "None", "{}", "-", "O O O"])
def test_nothing_to_mark(answer: str) -> None:
    assert marks(tagged_example(example("a b c", answer))) == []


def test_marks_in_the_question_are_taken_out_of_it() -> None:
    made = tagged_example(example("新款[海苔](产品)，<品牌>Acme</品牌>", "见左"))
    assert isinstance(made, Example)
    assert made.question[-1].content == "新款海苔，Acme" and marks(made) == [
        (2, 4, "产品", "海苔"),
        (5, 9, "品牌", "Acme"),
    ]


def test_the_same_word_twice_and_told_places() -> None:
    assert marks(tagged_example(example("苔 苔", "a:苔; b:苔"))) == [(0, 1, "a", "苔"), (2, 3, "b", "苔")]
    moved = '[{"start": 9, "end": 10, "type": "a", "text": "苔"}]'  # the text has lost what stood before it
    assert marks(tagged_example(example("苔 苔", moved))) == [(2, 3, "a", "苔")]


def lines(path: Path, text: str) -> Dataset:
    path.write_text(text, encoding="utf-8")
    return load(path)


CONLL = "海 B-产品\n苔 I-产品\n好 O\n吃 O\n\nAcme B-品牌\nsells O\ntea B-产品\n\n全 O\n是 O\n空 O\n"


@pytest.mark.parametrize("between", [" ", "\t", ","])
@pytest.mark.parametrize("header", ["", "词{}标签\n"])
def test_one_piece_a_row(between: str, header: str, tmp_path: Path) -> None:
    text = (header.format(between) if between != " " else "") + CONLL.replace(" ", between)
    found = lines(tmp_path / ("a.csv" if between == "," else "a.txt"), text)
    said = [(one.question[-1].content, marks(one)) for one in found.examples]
    assert said == [
        ("海苔好吃", [(0, 2, "产品", "海苔")]),
        ("Acme sells tea", [(0, 4, "品牌", "Acme"), (11, 14, "产品", "tea")]),
        ("全是空", []),
    ]
    first = 2 if header and between != " " else 1
    assert found.examples[0].rows == tuple(range(first, first + 4)) and not found.dropped
    assert found.rows == found.used + len(found.not_data)


def test_sentences_by_number_in_any_columns(tmp_path: Path) -> None:
    table = "POS,Word,Sentence #,Tag\nx,海,1,B-a\nx,苔,1,I-a\nx,好,2,O\nx,茶,2,B-a\nx,叶,2,I-a\nx,子,3,O\nx,a,3,O\n"
    found = lines(tmp_path / "a.csv", table)
    assert [one.question[-1].content for one in found.examples] == ["海苔", "好茶叶", "子a"]


def test_a_tag_that_is_missing_costs_its_sentence_and_is_listed(tmp_path: Path) -> None:
    found = lines(tmp_path / "a.csv", "词,标签\n海,B-产品\n苔,\n好,O\n\n" + "茶,B-产品\n叶,I-产品\n" * 12)
    assert len(found.examples) == 1
    assert {(left.row, left.code) for left in found.dropped} == {
        (2, "tag_missing_near"),
        (3, "tag_missing"),
        (4, "tag_missing_near"),
    }
    assert [(issue.row, issue.cell) for issue in found.issues if issue.code == "tag_missing"] == [(3, "B3")]


def test_marks_inside_a_single_column(tmp_path: Path) -> None:
    found = lines(tmp_path / "a.txt", "[海苔](产品)好吃\n\n买[茶](产品)\n没有\n[杯子](产品)")
    assert [(one.question[-1].content, marks(one)) for one in found.examples] == [
        ("海苔好吃", [(0, 2, "产品", "海苔")]), ("买茶", [(1, 2, "产品", "茶")]), ("没有", []), ("杯子", [(0, 2, "产品", "杯子")]),
    ]  # fmt: skip
    assert {repair.code for repair in found.repaired} == {"tags_read"}


def test_an_ordinary_sheet_stays_what_it_was(tmp_path: Path) -> None:
    text = "问题,答案\n" + "\n".join(f"怎么退货 {i}？,见[说明](https://x.cn/{i})" for i in range(8))
    found = lines(tmp_path / "a.csv", text)
    assert found.shape == "table" and found.examples[0].answer.startswith("见[说明]")
    assert not looks_tagged(found.examples) and for_task(found, "causal_lm") is found


def test_what_fails_is_dropped_with_its_row(tmp_path: Path) -> None:
    text = "文本,实体\n" + "".join(f"新款海苔 {i},产品:海苔\n" for i in range(12)) + "新款茶叶,产品:海苔\n"
    found = for_task(lines(tmp_path / "a.csv", text), "token_cls")
    assert [(left.row, left.code) for left in found.dropped] == [(14, "label_spans_do_not_fit")]
    assert looks_tagged(found.examples) and for_task(found, "token_cls") == found


PIECES = ["海", "苔", "tea", "", " ", "O", "B-a", "I-a", "B-b", "I-b", "x", "[海](a)", "1.5", "。", "-DOCSTART-"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(PIECES[3:10])), min_size=1, max_size=24))
def test_each_row_of_pieces_has_exactly_one_fate(rows: list[tuple[str, str]]) -> None:
    for raw in (
        Raw(
            Path("a.csv"),
            "0" * 64,
            "csv",
            "UTF-8",
            ",",
            sheets=(Sheet(None, tuple(Row(n, row) for n, row in enumerate(rows, 1))),),
        ),
        Raw(
            Path("a.txt"),
            "0" * 64,
            "txt",
            "UTF-8",
            None,
            lines=tuple(Line(n, " ".join(row)) for n, row in enumerate(rows, 1)),
        ),
    ):
        try:
            found = for_task(load(raw), "token_cls")
        except DataError:
            continue
        used = {row for one in found.examples for row in one.rows}
        fates = sorted([*used, *(left.row for left in (*found.dropped, *found.not_data))])
        assert fates == list(range(1, len(rows) + 1))
        assert all(not isinstance(marks(one), str) for one in found.examples)


@settings(deadline=None)
@given(st.text(alphabet="海苔ab 1.", max_size=12), st.data())
def test_tags_and_marks_are_one_another(text: str, data: st.DataObject) -> None:
    units = units_of(text)
    tags = [data.draw(st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"])) for _ in units]
    found = from_tags(tags, units, text)
    again = from_tags(to_tags(found, units), units, text)
    assert again == found and read_entities(write_entities(found)) == found
    assert json.loads(write_entities(found)) == [
        {"start": one.start, "end": one.end, "type": one.type, "text": text[one.start : one.end]} for one in found
    ]
