"""Wanted and unwanted answers, in the forms in which people keep them."""

from __future__ import annotations

import json

import pytest

from postil.dataset import diff, load, write_jsonl
from tests.dataset.made import accounted, codes

ASKED = ("杭州要几天？", "Where is my parcel?", "能开发票吗？", "How do I return it?")
GOOD = (
    "两天，发货前会短信通知。",
    "It left Leeds this morning.",
    "可以，签收后三天内开出。",
    "Print the label in your account.",
)
BAD = ("不知道。", "No idea.", "不行吧", "You cannot.")
ROWS = tuple((f"{ASKED[i % 4]} ({i})", f"{GOOD[i % 4]} {i}", f"{BAD[i % 4]} {i}") for i in range(12))


def jsonl(path, records):
    path.write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in records), encoding="utf-8")
    return path


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


FORMS = {
    "plain": lambda q, c, r: {"prompt": q, "chosen": c, "rejected": r},
    "alpaca": lambda q, c, r: {"instruction": q, "input": "", "chosen": c, "rejected": r},
    "openai": lambda q, c, r: {"input": {"messages": [user(q)]}, "preferred_output": [assistant(c)],
                               "non_preferred_output": [assistant(r)]},
    "lists": lambda q, c, r: {"prompt": [user(q)], "chosen": [assistant(c)], "rejected": [assistant(r)]},
    "whole": lambda q, c, r: {"chosen": [user(q), assistant(c)], "rejected": [user(q), assistant(r)]},
    "both": lambda q, c, r: {"prompt": q, "chosen": [user(q), assistant(c)], "rejected": [user(q), assistant(r)]},
    "sharegpt": lambda q, c, r: {"conversations": [{"from": "human", "value": q}],
                                 "chosen": {"from": "gpt", "value": c}, "rejected": {"from": "gpt", "value": r}},
    "fixed": lambda q, c, r: {"messages": [user(q), assistant(c)], "rejected": r},
    "scored": lambda q, c, r: {"question": q, "chosen": c, "rejected": r, "score": 4},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_records(tmp_path, form):
    found = load(jsonl(tmp_path / "a.jsonl", [FORMS[form](*row) for row in ROWS]))
    accounted(found)
    asked = [row[0] for row in ROWS]
    assert [example.question[-1].content for example in found.examples] == asked
    assert [len(example.messages) for example in found.examples] == [2] * 12
    assert [(example.answer, example.rejected) for example in found.examples] == [row[1:] for row in ROWS]


HEADS = (
    "问题 好回答 差回答", "提示词 采纳 拒绝", "question chosen rejected", "prompt Preferred Non_Preferred",
    "咨询 优选 劣选", "问题 答案 不好的回答",
)  # fmt: skip


@pytest.mark.parametrize("heads", HEADS)
def test_sheets_in_both_languages(tmp_path, heads):
    path = tmp_path / "a.csv"
    path.write_text(
        "\n".join(",".join(f'"{cell}"' for cell in row) for row in (heads.split(), *ROWS)), encoding="utf-8"
    )
    found = load(path)
    accounted(found)
    assert found.columns == {"question": "A", "answer": "B", "rejected": "C"}
    assert [example.rejected for example in found.examples] == [row[2] for row in ROWS]


def sheet(tmp_path, rows):
    path = tmp_path / "a.csv"
    head = ("问题", "好回答", "差回答")
    path.write_text("\n".join(",".join(f'"{cell}"' for cell in row) for row in (head, *rows)), encoding="utf-8")
    return path


def test_what_cannot_be_compared_is_told_with_its_row(tmp_path):
    rows = [
        *ROWS,
        ("电话？", "有。", ""),
        ("地址？", "杭州路 1 号", "杭州路１号"),
        ("", "有。", "没有。"),
        ("几点？", "", "不知道"),
    ]
    found = load(sheet(tmp_path, rows))
    accounted(found)
    assert [(left.row, left.code) for left in found.dropped] == [
        (14, "rejected_empty"), (15, "rejected_same"), (16, "missing_question"), (17, "missing_answer"),
    ]  # fmt: skip
    cells = {issue.code: issue.cell for issue in found.issues}
    assert cells["rejected_empty"] == "C14" and cells["rejected_same"] == "C15"
    mended = load(sheet(tmp_path, rows), edits={"C14": "没有。"}, without=[15])
    accounted(mended)
    assert mended.examples[-1].rejected == "没有。" and mended.left_out == 1


def test_the_same_answer_against_another_is_no_duplicate(tmp_path):
    question, good, bad = ROWS[0]
    found = load(sheet(tmp_path, [*ROWS, (question, good, "另一个不好的回答"), (question, "两三天", bad), ROWS[0]]))
    accounted(found)
    assert [(left.row, left.code) for left in found.dropped] == [(16, "duplicate")]
    assert not {"contradiction", "near_duplicate"} & codes(found)


def test_few_unwanted_answers_are_no_preferences(tmp_path):
    rows = [FORMS["plain"](*row) if i < 3 else {"prompt": row[0], "chosen": row[1], "rejected": ""}
            for i, row in enumerate(ROWS)]  # fmt: skip
    found = load(jsonl(tmp_path / "a.jsonl", rows))
    accounted(found)
    assert len(found.examples) == 12 and all(example.rejected is None for example in found.examples)
    assert "rejected_few" in codes(found)


def test_unwanted_answers_survive(tmp_path):
    """Masking, repairs, a prompt for all rows, the fixed file and the comparison of two versions."""
    rows = [*ROWS, ("谁能帮我？", "请找客服。", "打 13812345678 给小王&nbsp;吧")]
    found = load(sheet(tmp_path, rows), mask=True, system="你是店员。", instruction="请回答：")
    accounted(found)
    last = found.examples[-1].rejected
    assert last and "13812345678" not in last and "&nbsp;" not in last and last.startswith("打")
    assert {"C14"} == {repair.cell for repair in found.repaired if repair.code == "masked"}
    write_jsonl(found, tmp_path / "fixed.jsonl")
    again = load(tmp_path / "fixed.jsonl")
    assert [(e.messages, e.rejected) for e in again.examples] == [(e.messages, e.rejected) for e in found.examples]
    unmasked = load(sheet(tmp_path, rows))
    assert any(issue.code.startswith("personal_") and issue.cell == "C14" for issue in unmasked.issues)
    other = load(sheet(tmp_path, [*ROWS[:-1], (*ROWS[-1][:2], "又一个")]))
    assert len(diff(load(sheet(tmp_path, ROWS)), other).changed) == 1 and not diff(other, other).changed


def test_a_dialogue_of_several_turns_has_one_unwanted_answer(tmp_path):
    talk = [user("hi"), assistant("hello"), user("my parcel?")]
    record = {
        "input": {"messages": talk, "tools": [], "parallel_tool_calls": True},
        "preferred_output": [assistant("It left today.")],
        "non_preferred_output": [assistant("Who knows.")],
    }
    found = load(jsonl(tmp_path / "a.jsonl", [record, *(FORMS["openai"](*row) for row in ROWS)]))
    accounted(found)
    first = found.examples[0]
    assert [m.content for m in first.messages] == ["hi", "hello", "my parcel?", "It left today."]
    assert first.rejected == "Who knows." and first.answer == "It left today."
