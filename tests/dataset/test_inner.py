"""What services export: requests with responses, tickets, chats with senders, tables in JSON. JSON is no text."""

from __future__ import annotations

import json

import pytest

from postil.dataset import load
from postil.errors import DataError

from .made import PAIRS, accounted, codes, csv, jsonl, said, text

PLAIN = [[("user", question), ("assistant", answer)] for question, answer in PAIRS]


def user(words):
    return {"role": "user", "content": words}


def house(words):
    return {"role": "assistant", "content": words}


LINES = {
    "a log of a service": lambda q, a: {
        "request": {"model": "m", "messages": [user(q)]},
        "response": {"choices": [{"index": 0, "message": house(a)}], "usage": {"total_tokens": 9}},
    },
    "preferred and rejected": lambda q, a: {
        "input": {"messages": [user(q)]}, "preferred_output": [house(a)], "non_preferred_output": [house("不知道")]
    },
    "chosen dialogues": lambda q, a: {"chosen": [user(q), house(a)], "rejected": [user(q), house("不知道")]},
    "the answer before the prompt": lambda q, a: {"completion": [house(a)], "prompt": [user(q)]},
    "a prompt and a chosen message": lambda q, a: {"prompt": q, "chosen": [house(a)], "rejected": [house("不")]},
    "a workflow": lambda q, a: {"inputs": {"query": q}, "outputs": {"answer": a}},
    "parts": lambda q, a: {
        "contents": [{"role": "user", "parts": [{"text": q}]}, {"role": "model", "parts": [{"text": a}]}]
    },
    "a ticket": lambda q, a: {
        "subject": "咨询", "requester_id": 90, "comments": [{"author_id": 90, "body": q}, {"author_id": 5, "body": a}]
    },
    "people with roles": lambda q, a: {
        "comments": [{"author": {"name": "N", "role": "end-user"}, "body": q}, {"author": {"role": "agent"}, "body": a}]
    },
    "an opening and its parts": lambda q, a: {
        "source": {"body": q, "author": {"type": "user", "name": "K"}},
        "conversation_parts": {"conversation_parts": [{"body": a, "author": {"type": "admin", "name": "B"}}]},
    },
    "names of people": lambda q, a: {"messages": [{"sender": "小鱼", "msg": q}, {"sender": "客服小棠", "msg": a}]},
}  # fmt: skip


@pytest.mark.parametrize("form", LINES)
def test_messages_inside_a_record(tmp_path, form):
    dataset = load(jsonl(tmp_path / "a.jsonl", [LINES[form](question, answer) for question, answer in PAIRS]))
    assert said(dataset) == PLAIN
    accounted(dataset)


def test_messages_of_many_chats_in_one_list(tmp_path):
    items = []
    for n, (question, answer) in enumerate(PAIRS):
        for sender, words in (("user", question), ("app", answer)):
            body = {"content": json.dumps({"text": words}, ensure_ascii=False)}
            items.append({"message_id": f"{n}{sender}", "chat_id": n, "sender": {"sender_type": sender}, "body": body})
    dataset = load(text(tmp_path / "a.json", json.dumps({"code": 0, "data": {"items": items}}, ensure_ascii=False)))
    assert said(dataset) == PLAIN
    assert "damaged_key" not in codes(dataset)


@pytest.mark.parametrize(
    "value",
    [
        {"问题": [q for q, _ in PAIRS], "答案": [a for _, a in PAIRS]},
        {"问题": {str(n): q for n, (q, _) in enumerate(PAIRS)}, "答案": {str(n): a for n, (_, a) in enumerate(PAIRS)}},
        {"columns": ["问题", "答案"], "index": list(range(12)), "data": [list(pair) for pair in PAIRS]},
        [["问题", "答案"], *[list(pair) for pair in PAIRS]],
        {f"k{n}": {"问题": question, "答案": answer} for n, (question, answer) in enumerate(PAIRS)},
    ],
)
def test_tables_written_as_json(tmp_path, value):
    dataset = load(text(tmp_path / "a.json", json.dumps(value, ensure_ascii=False)))
    assert said(dataset) == PLAIN
    assert "table_in_json" in codes(dataset)
    accounted(dataset)


def test_objects_are_never_guessed_to_be_texts(tmp_path):
    lines = [{"id": n, "data": {"k": {"v": q}}, "annotations": [{"x": a}]} for n, (q, a) in enumerate(PAIRS)]
    with pytest.raises(DataError) as caught:
        load(jsonl(tmp_path / "a.jsonl", lines))
    assert caught.value.code == "no_keys"
    named = load(jsonl(tmp_path / "b.jsonl", [{"question": [{"x": q}], "answer": a} for q, a in PAIRS]))
    assert {left.code for left in named.dropped} == {"nested_question"} and not named.examples
    accounted(named)


def test_an_answer_that_is_meant_to_be_json_stays_json(tmp_path):
    dataset = load(jsonl(tmp_path / "a.jsonl", [{"input": q, "output": {"类": a}} for q, a in PAIRS]))
    assert json.loads(dataset.examples[0].answer) == {"类": PAIRS[0][1]}
    listed = load(jsonl(tmp_path / "b.jsonl", [{"input": q, "output": ["甲", a]} for q, a in PAIRS]))
    assert len(listed.examples) == 12 and json.loads(listed.examples[0].answer) == ["甲", PAIRS[0][1]]


def test_wordings_and_answers_in_lists(tmp_path):
    lines = [{"tag": "保修", "patterns": ["保修多久？", "质保几年？"], "responses": ["两年。", "两年质保。"]}]
    dataset = load(jsonl(tmp_path / "a.jsonl", lines))
    assert said(dataset) == [
        [("user", "保修多久？"), ("assistant", "两年。")],
        [("user", "质保几年？"), ("assistant", "两年质保。")],
    ]
    assert len({example.group for example in dataset.examples}) == 1
    several = load(jsonl(tmp_path / "b.jsonl", [{"question": "颜色？", "answers": ["红。", "蓝。"]}]))
    assert [example.answer for example in several.examples] == ["红。", "蓝。"] and "contradiction" not in codes(
        several
    )


def test_answers_marked_bad_are_not_learned(tmp_path):
    lines = [{"prompt": q, "completion": a, "label": n > 0} for n, (q, a) in enumerate(PAIRS)]
    dataset = load(jsonl(tmp_path / "a.jsonl", lines))
    assert [(left.row, left.code) for left in dataset.dropped] == [(1, "marked_bad")]
    accounted(dataset)


def test_thoughts_are_told_to_be_left_out(tmp_path):
    lines = [{"messages": [user(q), {**house(a), "reasoning_content": "想想"}]} for q, a in PAIRS]
    (issue,) = [i for i in load(jsonl(tmp_path / "a.jsonl", lines)).issues if i.code == "columns_not_used"]
    assert "reasoning_content" in issue.message("en")


CHATS = {
    "time and name in brackets": "【2026-05-01 10:0{n}】李雷(客户{m})：{q}\n【2026-05-01 10:1{n}】韩梅(客服)：{a}\n",
    "time behind the name": "tb88{m}(2026-05-01 10:00:11): {q}\n木棉旗舰店:小棠(2026-05-01 10:00:40): {a}\n",
    "half of the day": "小鱼{m} 2026年5月1日 上午9:30\n{q}\n\n木棉客服 2026年5月1日 下午1:02\n{a}\n\n",
}


@pytest.mark.parametrize("form", CHATS)
def test_chat_exports(tmp_path, form):
    lines = [CHATS[form].format(n=n % 10, m=n, q=q, a=a) for n, (q, a) in enumerate(PAIRS)]
    assert said(load(text(tmp_path / "a.txt", "".join(lines)))) == PLAIN


def test_a_column_that_says_who_has_sent(tmp_path):
    rows = [f"{n},{n},{sent},{words}" for n, pair in enumerate(PAIRS) for sent, words in enumerate(pair)]
    dataset = csv(tmp_path / "a.csv", "localId,TalkerId,IsSender,StrContent\n" + "\n".join(rows) + "\n")
    assert said(dataset) == PLAIN


def test_references_in_a_list_stand_below_each_other(tmp_path):
    lines = [{"question": q, "reference": ["第一条", "第二条"], "answer": a} for q, a in PAIRS]
    dataset = load(jsonl(tmp_path / "a.jsonl", lines))
    assert dataset.examples[0].messages[0].content == f"{PAIRS[0][0]}\n第一条\n第二条"
