"""Texts that nobody asks for, and what must never be taken for such."""

from __future__ import annotations

import json

import pytest

from postil.dataset import load, split
from postil.errors import DataError
from tests.dataset.made import accounted, codes

SENTENCES = (
    "我们的仓库每天早上八点开门，晚上六点前发货。", "Parcels that arrive after noon leave on the next day.",
    "退回的货物要先验货，再入库，最后退款。", "The long route goes by Leeds and Turin, the short one does not.",
)  # fmt: skip
TEXTS = tuple(f"第{i}批：{SENTENCES[i % 4]}{SENTENCES[(i + 1) % 4]}" for i in range(12))


def said(found):
    return [example.answer for example in found.examples]


def file(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else "\n".join(
        json.dumps(one, ensure_ascii=False) for one in content), encoding="utf-8")  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "\n\n".join(TEXTS)),
        ("a.txt", "\n".join(TEXTS)),
        ("a.md", "\n\n---\n\n".join(TEXTS)),
        ("a.csv", "正文\n" + "\n".join(f'"{text}"' for text in TEXTS)),
        ("a.csv", "序号,正文\n" + "\n".join(f'{i},"{text}"' for i, text in enumerate(TEXTS))),
        ("a.jsonl", [{"text": text} for text in TEXTS]),
        ("a.jsonl", [{"text": text, "id": i, "meta": {"url": "x"}} for i, text in enumerate(TEXTS)]),
        ("a.jsonl", [{"content": text} for text in TEXTS]),
    ],
)
def test_texts_in_many_forms(tmp_path, name, content):
    found = load(file(tmp_path, name, content))
    accounted(found)
    assert said(found) == list(TEXTS) and found.shape == "texts"
    assert "texts_only" in codes(found) and not {"contradiction", "answer_too_long", "missing_question"} & codes(found)
    assert all(not example.question and example.rejected is None for example in found.examples)


def test_headings_begin_documents_and_stay_in_them(tmp_path):
    lines = [f"# 第{i}章 发货\n\n{text}\n\n{SENTENCES[3]}\n" for i, text in enumerate(TEXTS)]
    found = load(file(tmp_path, "a.md", "\n".join(lines)))
    accounted(found)
    assert len(found.examples) == 12 and said(found)[0].startswith("# 第0章 发货\n\n第0批")
    assert said(found)[0].endswith(SENTENCES[3])


def test_a_row_is_left_out_or_put_right(tmp_path):
    path = file(tmp_path, "a.txt", "\n\n".join(TEXTS))
    found = load(path, without=[3], edits={"1:text": "这一段是后来改写的，比原来的更清楚。"})
    accounted(found)
    assert len(found.examples) == 11 and said(found)[0].startswith("这一段") and found.left_out == 1
    path = file(tmp_path, "a.csv", "正文\n" + "\n".join(f'"{text}"' for text in TEXTS))
    found = load(path, without=[2], edits={"A3": "这一段是后来改写的，比原来的更清楚。"})
    accounted(found)
    assert len(found.examples) == 11 and said(found)[0].startswith("这一段")


def test_the_same_text_twice_and_personal_data(tmp_path):
    texts = [*TEXTS, TEXTS[0], "收件人的电话是 13812345678，请在送达之前联系他。"]
    found = load(file(tmp_path, "a.jsonl", [{"text": text} for text in texts]), mask=True)
    accounted(found)
    assert [left.code for left in found.dropped] == ["duplicate"]
    assert "13812345678" not in said(found)[-1] and "masked" in {repair.code for repair in found.repaired}


def test_documents_are_split_as_wholes(tmp_path):
    found = load(file(tmp_path, "a.txt", "\n\n".join(TEXTS)))
    parts = split(found.examples, validation_rows=2, test_rows=3, seed=1)
    assert [len(parts.training), len(parts.validation), len(parts.test)] == [7, 2, 3]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.txt", "怎么退货？\n\n多久发货？\n\n可以开发票吗？\n\n" * 4),  # questions alone
        ("q.csv", "问题\n" + "\n".join(f"{i} 号仓库的货物要几天才能送到杭州？" for i in range(12))),
        ("q.csv", "问题,答案\n" + "\n".join(f'"{text}",' for text in TEXTS)),  # the answers are still missing
        ("names.csv", "商品\n" + "\n".join(f"{i} 新款夏季碎花雪纺收腰显瘦连衣裙 女 大码" for i in range(12))),
        ("words.txt", "dress\ntea cup\ncase\n"),
        ("one.txt", "a"),
    ],
)
def test_what_only_lacks_its_answers_is_no_text_to_read(tmp_path, name, content):
    with pytest.raises(DataError) as refused:
        found = load(file(tmp_path, name, content))
        assert not found.examples, found.shape
        raise DataError("no_rows")
    assert refused.value.code in ("no_columns", "no_dialogue_found", "no_rows")


def test_two_columns_of_texts_are_questions_and_answers(tmp_path):
    rows = "\n".join(f'"{text}","{SENTENCES[i % 4]}"' for i, text in enumerate(TEXTS))
    found = load(file(tmp_path, "a.csv", f"甲,乙\n{rows}"))
    assert found.shape == "table" and all(example.question for example in found.examples)
    found = load(file(tmp_path, "b.jsonl", [{"text": text, "label": "好"} for text in TEXTS]))
    assert all(example.question for example in found.examples)


def test_texts_among_dialogues_are_told(tmp_path):
    rows = [{"question": f"{i} 号怎么退？", "answer": "七天内退。"} for i in range(5)]
    rows += [{"text": TEXTS[0]}, {"text": TEXTS[1]}]
    found = load(file(tmp_path, "a.jsonl", rows))
    accounted(found)
    assert len(found.examples) == 5 and [left.code for left in found.dropped] == ["missing_answer"] * 2
