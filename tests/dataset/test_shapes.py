# ruff: noqa: E501 - a sample a line reads best
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from postil.dataset import load
from postil.errors import DataError
from tests.dataset.made import PAIRS, accounted, codes, jsonl, said, text

PAIR = [("user", "在吗"), ("assistant", "在的")]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"instruction": "在吗", "response": "在的"}, PAIR),
        ({"Instruction ": "在吗", "OUTPUT": "在的"}, PAIR),
        ({"instrucAon": "在吗", "ouput": "在的"}, PAIR),
        ({"instruction": "", "input": "在吗", "output": "在的"}, PAIR),
        ({"prompt": "在吗", "chosen": "在的", "rejected": "不在"}, PAIR),
        ({"query": "在吗", "response": "在的", "history": []}, PAIR),
        ({"问题": "在吗", "答案": "在的"}, PAIR),
        ({"messages": [{"role": "user", "content": "在吗"}, {"role": "assistant", "content": "在的"}]}, PAIR),
        ([{"role": "user", "content": "在吗"}, {"role": "assistant", "content": "在的"}], PAIR),
        ({"messages": '[{"role": "user", "content": "在吗"}, {"role": "assistant", "content": "在的"}]'}, PAIR),
        ({"conversations": [{"from": "human", "value": "在吗"}, {"from": "gpt", "value": "在的"}]}, PAIR),
        ({"conversation": [{"human": "在吗", "assistant": "在的"}]}, PAIR),
        ({"conversation": {"input": "在吗", "output": "在的"}}, PAIR),
        ({"dialogue": ["在吗", "在的"]}, PAIR),
        ({"system": {"role": "user", "content": "在吗"}, "b": {"role": "assistant", "content": "在的"}}, PAIR),
        ({"对话": [{"角色": "用户", "内容": "在吗"}, {"角色": "客服", "内容": "在的"}]}, PAIR),
        ({"contents": [{"role": "user", "parts": [{"text": "在吗"}]}, {"role": "model", "parts": [{"text": "在的"}]}]}, PAIR),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "在"}, {"type": "text", "text": "吗"}]},
                       {"role": "assistant", "content": "在的"}]}, PAIR),
        ({"messages": [{"role": "developer", "content": "简短"}, {"role": "user", "content": "在吗"},
                       {"role": "assistant", "content": "在的"}]}, [("system", "简短"), *PAIR]),
        ({"system": "简短", "conversations": [{"from": "user", "value": "在吗"}, {"from": "bot", "value": "在的"}]},
         [("system", "简短"), *PAIR]),
        ({"prompt": [{"role": "user", "content": "在吗"}], "completion": [{"role": "assistant", "content": "在的"}]}, PAIR),
        ({"instruction": "在吗", "output": 7}, [("user", "在吗"), ("assistant", "7")]),
        ({"instruction": "在吗", "output": True}, [("user", "在吗"), ("assistant", "true")]),
        ({"instruction": "在吗", "output": {"词": ["甲"]}}, [("user", "在吗"), ("assistant", '{"词": ["甲"]}')]),
        ({"query": "在吗", "response": "在的", "history": [{"role": "user", "content": "喂"}, {"role": "assistant", "content": "嗯"}]},
         [("user", "喂"), ("assistant", "嗯"), *PAIR]),
    ],
)  # fmt: skip
def test_one_shape(tmp_path: Path, value: Any, wanted: list[tuple[str, str]]) -> None:
    found = load(jsonl(tmp_path / "a.jsonl", [value]))
    accounted(found)
    assert said(found) == [wanted]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"instruction": "在吗"}, "missing_answer"),
        ({"instruction": "在吗", "output": None}, "missing_answer"),
        ({"instruction": None, "output": "在的"}, "missing_question"),
        ({"output": "在的"}, "missing_question"),
        ({"text": "只有一段话"}, "missing_answer"),
        ({}, "empty_record"),
        ({"instruction": "", "output": ""}, "empty_record"),
        ([], "empty_conversation"),
        ({"messages": []}, "empty_conversation"),
        ({"messages": [{"role": "narrator", "content": "天黑了"}, {"role": "assistant", "content": "嗯"}]}, "bad_roles"),
        ({"messages": [{"role": "user", "content": "在吗"}]}, "missing_answer"),
        ({"messages": [{"role": "assistant", "content": "在的"}]}, "missing_question"),
        ({"messages": [{"role": "user", "content": "在吗"}, {"role": "assistant", "content": "在的", "weight": 0}]}, "nothing_to_learn"),
        ({"messages": [{"role": "assistant", "content": "您好"}, {"role": "user", "content": "在吗"}]}, "answer_before_question"),
        ({"messages": [42]}, "bad_roles"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "看图"}, {"type": "image_url", "image_url": {"url": "x"}}]}, {"role": "assistant", "content": "好"}]}, "not_text"),
    ],
)  # fmt: skip
def test_one_that_cannot_be_used(tmp_path: Path, value: Any, code: str) -> None:
    found = load(jsonl(tmp_path / "a.jsonl", [value, {"question": "甲", "answer": "乙"}]))
    accounted(found)
    assert [(left.row, left.code) for left in found.dropped] == [(1, code)]
    assert any(issue.code == code and issue.row == 1 for issue in found.issues)


def test_tools_weights_and_names_are_kept(tmp_path: Path) -> None:
    call = [{"id": "c1", "type": "function", "function": {"name": "stock", "arguments": "{}"}}]
    value = {"tools": [{"type": "function", "function": {"name": "stock"}}], "messages": [
        {"role": "user", "content": "有货吗"}, {"role": "assistant", "content": None, "tool_calls": call},
        {"role": "tool", "content": "12", "tool_call_id": "c1"}, {"role": "assistant", "content": "有。", "weight": 0},
        {"role": "user", "content": "几件"}, {"role": "assistant", "content": "12件。"}]}  # fmt: skip
    (example,) = load(jsonl(tmp_path / "a.jsonl", [value])).examples
    assert example.as_json() == {"messages": [
        {"role": "user", "content": "有货吗"}, {"role": "assistant", "content": "", "tool_calls": call},
        {"role": "tool", "content": "12", "tool_call_id": "c1"}, {"role": "assistant", "content": "有。", "weight": 0.0},
        {"role": "user", "content": "几件"}, {"role": "assistant", "content": "12件。"}], "tools": value["tools"]}  # fmt: skip


def test_flat_records_with_unknown_keys(tmp_path: Path) -> None:
    found = load(jsonl(tmp_path / "a.jsonl", [{"n": i, "foo": q, "bar": a} for i, (q, a) in enumerate(PAIRS)]))
    accounted(found)
    assert len(found.examples) == len(PAIRS) and found.columns == {"question": "foo", "answer": "bar"}
    assert codes(found) == {"columns_guessed", "columns_not_used"}
    swapped = load(tmp_path / "a.jsonl", columns={"question": "bar", "answer": "foo"})
    assert said(swapped)[0] == [("user", PAIRS[0][1]), ("assistant", PAIRS[0][0])]


def test_no_keys_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        load(jsonl(tmp_path / "a.jsonl", [{"price": i, "size": i} for i in range(20)]))
    assert error.value.code == "no_keys" and "price" in str(error.value)


def test_a_key_that_no_record_has_is_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"question": q, "answer": a} for q, a in PAIRS])
    for key in ("nonsense", "A"):
        with pytest.raises(DataError) as error:
            load(path, columns={"answer": key})
        assert error.value.code == "no_such_record_key" and f'"{key}"' in error.value.cause("en")


def test_a_key_that_is_named_and_not_used_is_reported(tmp_path: Path) -> None:
    turns = [{"role": role, "content": text, "thinking": "hm"} for role, text in PAIR]
    path = jsonl(tmp_path / "a.jsonl", [{"messages": turns, "note": "x"}])
    for key in ("note", "thinking"):
        assert "key_not_heeded" in codes(load(path, columns={"answer": key}))
    for columns in ({"conversation": "messages"}, {"system": "note"}, {"answer": "-"}):
        assert "key_not_heeded" not in codes(load(path, columns=columns))


@pytest.mark.parametrize("key", ["instrucAon", "instruction"])
def test_a_damaged_key_is_named_as_it_stands_or_as_it_is_read(tmp_path: Path, key: str) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"instrucAon": q, "response": a} for q, a in PAIRS])
    found = load(path, columns={"question": key, "answer": "response"})
    assert said(found)[0] == [("user", PAIRS[0][0]), ("assistant", PAIRS[0][1])]
    assert "key_not_heeded" not in codes(found)


@pytest.mark.parametrize("wanted", [{"question": "ask", "answer": "ask"}, {"question": "A", "answer": "ask"}])
def test_question_and_answer_are_two_columns(tmp_path: Path, wanted: dict[str, str]) -> None:
    sheet = text(tmp_path / "a.csv", "".join(f"{q},{a}\n" for q, a in [("ask", "reply"), *PAIRS]))
    records = jsonl(tmp_path / "a.jsonl", [{"ask": q, "reply": a} for q, a in PAIRS])
    for path in (sheet, records) if wanted["question"] == "ask" else (sheet,):
        with pytest.raises(DataError) as error:
            load(path, columns=wanted)
        assert error.value.code == "column_twice"


def test_turns_of_one_conversation_in_several_records(tmp_path: Path) -> None:
    values = [{"session_id": i // 2, "turn": i % 2 + 1, "question": f"问{i}", "answer": f"答{i}"} for i in range(24)]
    found = load(jsonl(tmp_path / "a.jsonl", values))
    accounted(found)
    assert len(found.examples) == 12 and found.examples[0].rows == (1, 2)


def test_one_message_a_record(tmp_path: Path) -> None:
    values = [{"conversation_id": i // 2, "role": ("user", "assistant")[i % 2], "content": f"话{i}"} for i in range(24)]
    found = load(jsonl(tmp_path / "a.jsonl", values))
    accounted(found)
    assert len(found.examples) == 12 and said(found)[1] == [("user", "话2"), ("assistant", "话3")]


def test_clean_messages_give_no_issue(tmp_path: Path) -> None:
    values = [{"messages": [{"role": "system", "content": "你是客服。"}, {"role": "user", "content": f"第{i}单何时到？"},
                            {"role": "assistant", "content": f"第{i}单{i % 9 + 1}天后到。"}]} for i in range(120)]  # fmt: skip
    found = load(jsonl(tmp_path / "a.jsonl", values))
    assert {issue.code for issue in found.issues} == {"more_rows"} and not found.repaired and found.shape == "messages"


def test_lists_of_two_and_a_book_of_answers(tmp_path: Path) -> None:
    wanted = [[("user", q), ("assistant", a)] for q, a in PAIRS]
    found = load(text(tmp_path / "a.json", json.dumps(PAIRS, ensure_ascii=False)))
    assert said(found) == wanted
    found = load(text(tmp_path / "b.json", json.dumps(dict(PAIRS), ensure_ascii=False)))
    accounted(found)
    assert said(found) == wanted and found.rows == 1


@pytest.mark.parametrize(
    ("text_", "wanted"),
    [
        ("<s>[INST] <<SYS>>\n简短\n<</SYS>>\n在吗 [/INST] 在的 </s>", [("system", "简短"), *PAIR]),
        ("<s>[INST] 在吗 [/INST] 在的 </s><s>[INST] 好 [/INST] 嗯 </s>", [*PAIR, ("user", "好"), ("assistant", "嗯")]),
        ("### Human: 在吗### Assistant: 在的", PAIR),
        (
            "Below is a task.\n\n### Instruction:\n答话\n\n### Input:\n在吗\n\n### Response:\n在的",
            [("system", "Below is a task."), ("user", "答话\n在吗"), ("assistant", "在的")],
        ),
        ("<|im_start|>user\n在吗<|im_end|>\n<|im_start|>assistant\n在的<|im_end|>\n", PAIR),
    ],
)
def test_a_dialogue_written_into_one_text(tmp_path: Path, text_: str, wanted: list[tuple[str, str]]) -> None:
    found = load(jsonl(tmp_path / "a.jsonl", [{"text": text_}]))
    accounted(found)
    assert said(found) == [wanted] and [repair.code for repair in found.repaired] == ["marks_read"]


def test_an_object_around_each_record_is_opened(tmp_path: Path) -> None:
    found = load(jsonl(tmp_path / "a.jsonl", [{"data": {"question": q, "answer": a}} for q, a in PAIRS]))
    assert len(found.examples) == len(PAIRS) and {repair.code for repair in found.repaired} == {"wrapper_opened"}


def test_a_key_without_a_name_is_no_system_prompt(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "在吗"}, {"role": "assistant", "content": "在的"}]
    found = load(jsonl(tmp_path / "a.jsonl", [{"": "left over", "messages": messages}]))
    assert said(found) == [PAIR]
