"""Lists by category, groups with items, answers of web services: one list of records, and nothing taken silently."""

from __future__ import annotations

import json

import pytest

from postil.dataset import load
from postil.dataset.nested import unfold

from .made import PAIRS, accounted, codes, jsonl, said, text

ASKED = [{"问题": question, "答案": answer} for question, answer in PAIRS]
PLAIN = [[("user", question), ("assistant", answer)] for question, answer in PAIRS]


def nested(tmp_path, value):
    dataset = load(text(tmp_path / "a.json", json.dumps(value, ensure_ascii=False)))
    accounted(dataset)
    return dataset


def issue(dataset, code):
    return next(issue for issue in dataset.issues if issue.code == code)


def test_lists_by_category_are_one_data_set(tmp_path):
    dataset = nested(tmp_path, {"售前": ASKED[:5], "售后": ASKED[5:8], "物流": ASKED[8:]})
    assert said(dataset) == PLAIN
    assert [example.rows for example in dataset.examples] == [(n,) for n in range(1, 13)]
    assert "售前, 售后, 物流" in issue(dataset, "groups_joined").message("zh")
    assert "分类" in issue(dataset, "columns_not_used").message("zh")


@pytest.mark.parametrize(
    "value",
    [
        {"售前": ASKED[:5], "售后": {"退换": ASKED[5:8], "物流": ASKED[8:]}},
        {"售前": dict(PAIRS[:5]), "售后": dict(PAIRS[5:])},
        {"售前": [list(pair) for pair in PAIRS[:5]], "售后": [list(pair) for pair in PAIRS[5:]]},
    ],
)
def test_categories_of_other_forms(tmp_path, value):
    dataset = nested(tmp_path, value)
    assert said(dataset) == PLAIN
    assert "groups_joined" in codes(dataset)


def test_the_category_is_the_answer_where_there_is_no_other(tmp_path):
    dataset = nested(tmp_path, {"好评": [q for q, _ in PAIRS[:6]], "差评": [q for q, _ in PAIRS[6:]]})
    assert said(dataset)[0] == [("user", PAIRS[0][0]), ("assistant", "好评")]
    assert len(dataset.examples) == 12


def test_a_division_that_someone_made_is_told(tmp_path):
    dataset = nested(tmp_path, {"train": ASKED[:8], "test": ASKED[8:]})
    assert said(dataset) == PLAIN
    assert "train, test" in issue(dataset, "parts_joined").message("en")


def test_groups_with_items(tmp_path):
    dataset = nested(tmp_path, [{"category": "a", "items": ASKED[:5]}, {"category": "b", "items": ASKED[5:]}])
    assert said(dataset) == PLAIN
    assert codes(dataset) == {"groups_opened", "columns_not_used"}


def test_groups_line_by_line_keep_their_line(tmp_path):
    dataset = load(jsonl(tmp_path / "a.jsonl", [{"topic": "a", "qa": ASKED[:5]}, {"topic": "b", "qa": ASKED[5:]}]))
    assert said(dataset) == PLAIN
    assert [example.rows for example in dataset.examples] == [(1,)] * 5 + [(2,)] * 7
    accounted(dataset)


def test_pairs_under_a_session_id_are_one_dialogue(tmp_path):
    dataset = nested(tmp_path, [{"session_id": f"s{n}", "list": ASKED[3 * n : 3 * n + 3]} for n in range(4)])
    assert [len(example.messages) for example in dataset.examples] == [6] * 4


def test_questions_on_a_text_keep_the_text(tmp_path):
    asked = {"question": "保修多久？", "answers": [{"text": "两年", "answer_start": 4}]}
    value = {"data": [{"title": "说明书", "paragraphs": [{"context": "本机保修两年。", "qas": [asked]}]}]}
    (example,) = nested(tmp_path, value).examples
    assert [message.content for message in example.messages] == ["保修多久？\n本机保修两年。", "两年"]


def test_other_lists_beside_the_records_are_named(tmp_path):
    value = {"code": 0, "data": {"list": ASKED, "links": [{"rel": "next", "href": "/2"}]}, "msg": "ok"}
    dataset = nested(tmp_path, value)
    assert said(dataset) == PLAIN
    assert "data → links" in issue(dataset, "lists_not_used").message("en")


def test_a_damaged_file_by_category_is_read_too(tmp_path):
    whole = json.dumps({"售前": ASKED[:6], "售后": ASKED[6:]}, ensure_ascii=False)
    dataset = load(text(tmp_path / "a.json", whole[:-1] + ",}"))
    assert said(dataset) == PLAIN
    assert {"groups_joined", "json_trailing_comma"} <= codes(dataset)


@pytest.mark.parametrize(
    "value",
    [
        {"question": "有货吗？", "answer": "有。", "skus": [{"color": "红"}, {"color": "蓝"}]},
        {"messages": [{"role": "user", "content": "在吗"}, {"role": "assistant", "content": "在。"}]},
        {"conversation": [{"input": "在吗", "output": "在。"}, {"input": "退货", "output": "好。"}]},
        {"instruction": "翻译", "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}]},
        {"title": "杯子", "tags": ["a", "b"], "images": [{"url": "x"}]},
        [{"title": "杯子", "skus": [{"color": "红"}]}],
    ],
)
def test_a_record_that_holds_a_list_is_left_alone(value):
    assert unfold(value) is None
